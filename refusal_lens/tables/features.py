"""Sparse features in numbers: what is listed, cards, and what edits of latents do."""

from statistics import mean

from refusal_lens.evaluation import UNEDITED
from refusal_lens.plots.palette import BENIGN, REFUSE
from refusal_lens.plots.text import number, probability, value_interval, visible
from refusal_lens.prompts import LABELS
from refusal_lens.records import Estimate
from refusal_lens.sparse import FeatureCards, FeatureEffects, FeatureSummary, FiringTests, Listed
from refusal_lens.sparse.summary import FeatureEffect
from refusal_lens.tables.table import Cell, Table, rate_cell


def listed_table(summary: FeatureSummary, tests: FiringTests) -> Table:
    """Latents by how many lists they are in, beside permuted verdicts and the published rule."""
    n_categories = len(tests.categories)
    drawn = summary.permuted
    published = summary.published
    rows = [
        (
            ("more on refused prompts, q ≤ " + f"{tests.rule.level:g}"),
            *_counts(summary.listed),
        ),
        (
            f"verdicts permuted, {len(drawn)} draws: mean (largest)",
            *(
                f"{mean(values):.2f} ({max(values)})"
                for values in zip(*((d.any_list, d.tail, d.core) for d in drawn), strict=True)
            ),
        ),
        (
            f"published rule: the {published.most} largest differences, whatever their size",
            "–",
            "–",
            f"{published.core}, of which {published.core_not_positive} not positive everywhere",
        ),
    ]
    ties = f"{min(published.tied)} to {max(published.tied)}"
    quality = summary.quality
    caption = (
        f"{visible(summary.sae)}, read at offset {tests.offset} of "
        f"{sum(tests.n_refused)} refused and {sum(tests.n_answered)} answered prompts in "
        f"{n_categories} categories; there it gives back {quality.explained:.0%} of the variance "
        f"with {quality.l0:.1f} latents per token, and {quality.dead} of {quality.n_latents} "
        "latents never fire. A latent is tested in a category where it fires on at least "
        f"{tests.rule.least_rate:.0%} of the prompts. If lists were drawn independently, "
        f"{summary.expected_core:.2f} latents would be in all. Lists by the published rule end "
        f"within ties of {ties} latents."
    )
    head = ("rule", "in a list", "tail: one or two lists", f"core: all {n_categories} lists")
    return Table(caption, head, tuple(tuple(map(Cell, row)) for row in rows))


def _counts(listed: Listed) -> tuple[str, str, str]:
    return str(listed.any_list), str(listed.tail), str(listed.core)


def checks_table(summary: FeatureSummary) -> Table:
    """What holds of the chosen latents together on prompts that did not choose them."""
    rows = (
        ("fires more on refused prompts (held-out)", summary.measured, "P(z > 0), mean difference"),
        ("cosine of their decoder rows' mean to the pooled direction", summary.cosine, "cosine"),
        ("share of the vector's length that zeroing removes", summary.removed, "refused prompts"),
    )
    caption = (
        f"The {len(summary.chosen)} latents in most lists: "
        f"{', '.join(map(str, summary.chosen)) or 'none'}. Control: {len(summary.controls)} draws "
        "of as many other latents that are in no list and fire as often on the prompts that chose "
        "these; of their cosines the largest in size."
    )
    head = ("what", "value", "n", "control", "in")
    return Table(caption, head, tuple(_check(*row) for row in rows))


def _check(what: str, e: Estimate | None, unit: str) -> tuple[Cell, ...]:
    if e is None:
        return (Cell(what), Cell("not measured"), Cell("–"), Cell("–"), Cell(unit))
    value = value_interval(e)
    return (Cell(what), Cell(value), Cell(str(e.n)), Cell(number(e.control)), Cell(unit))


def cards_table(cards: FeatureCards) -> Table:
    """A row per card, without its contexts."""
    rows = tuple(
        (
            Cell(str(card.latent)),
            Cell(card.role),
            Cell(str(card.n_lists)),
            Cell(number(card.difference)),
            Cell(value_interval(card.measured)),
            Cell(number(card.cosine)),
            Cell(" ".join(f"“{visible(token)}”" for token in card.promoted)),
        )
        for card in cards.cards
    )
    caption = (
        "Difference: P(z > 0 | refused) − P(z > 0 | answered), mean over categories on the "
        f"prompts that chose the latents, and with a 95% interval on {cards.n_prompts} others; "
        "cosine: of the decoder row with the pooled direction; promoted: tokens that the decoder "
        "row raises most, through final norm and unembedding. Shared: in three lists or more, "
        "not in all."
    )
    head = ("latent", "role", "lists", "difference", "held-out", "cosine", "promoted")
    return Table(caption, head, rows)


def contexts_table(cards: FeatureCards) -> Table:
    """Where each latent fires most in the held-out prompts, a row per context."""
    rows = tuple(
        (
            Cell(str(card.latent)),
            Cell(f"{visible(c.category)}, {c.label}"),
            Cell(f"{visible(c.before)} [[{visible(c.token)}]] {visible(c.after)}"),
            Cell(number(c.value, 1)),
        )
        for card in cards.cards
        for c in card.contexts
    )
    caption = (
        f"Strongest tokens of {cards.n_prompts} held-out prompts, at most one of each, in "
        "brackets. Prompts' own text and the template; label: what was intended."
    )
    return Table(caption, ("latent", "prompt", "context", "value"), rows, kind="words")


def feature_effects_table(effects: FeatureEffects) -> Table:
    """A row per condition, its rate on the side that it is tried on."""
    conditions = list(dict.fromkeys((row.edit, row.condition) for row in effects.rows))
    rows = tuple(
        (
            Cell("unedited" if edit == UNEDITED else f"{edit}: {name}"),
            *(_cell(effects.of(name, side), edit, side) for side in LABELS),
        )
        for edit, name in conditions
    )
    caption = (
        f"Read answers, judge: {visible(effects.judge)}, {visible(effects.decoding)}. "
        f"{visible(effects.sae)}. Ablated: {effects.n_latents} latents zeroed at every token of "
        "its site, its error kept; direction: the pooled one projected out at that site alone; "
        "reconstruction: no latent zeroed, the error left out. Added at that site, at the "
        "pooled direction's length: the mean of the latents' decoder rows. Other latents fire as "
        f"often and are in no list ({effects.draws} draws, which the prompts take in turn). q: "
        "exact McNemar test against those, Benjamini-Hochberg; * q ≤ .05. Intervals: Wilson, 95%, "
        "of other latents for these draws."
    )
    return Table(caption, ("edit", "refuse side refused", "benign side refused"), rows)


def _cell(row: FeatureEffect | None, edit: str, side: str) -> Cell:
    if row is None or row.edit != edit:
        return Cell("–")
    cell = rate_cell(row.rate, REFUSE if side == "refuse" else BENIGN)
    if row.q is None:
        return cell
    star = " *" if row.q <= 0.05 else ""
    return Cell(f"{cell.text}, q {probability(row.q)}{star}", colour=cell.colour, bar=cell.bar)
