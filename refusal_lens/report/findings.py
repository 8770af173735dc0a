"""What runs found, as a table in Markdown: a claim per row, a run per column, all from records.

    refusal-lens findings RUN [RUN ...] [--into FILE.md] [--short]

Numbers are never copied by hand: the table replaces what stands between two marks of a page, and
the same command on the same run folders writes the same text.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import torch

from refusal_lens.attribution import Decomposition
from refusal_lens.attribution.components import WRITERS
from refusal_lens.embedded.registry import find_embedded
from refusal_lens.errors import InputError
from refusal_lens.evaluation import Effects, MannerMatrix, Matched
from refusal_lens.evaluation.effects import CONTROLS, UNEDITED, EditName
from refusal_lens.geometry import BehaviourContrasts
from refusal_lens.geometry.contrasts import BOTH, WITHIN_HARMFUL
from refusal_lens.geometry.cosines import LEAST_PAIRS
from refusal_lens.plots.behaviour import cells_table
from refusal_lens.plots.matched import knob_in_words
from refusal_lens.plots.text import interval, number, percent, probability, told, visible
from refusal_lens.prompts import LABELS, Label
from refusal_lens.records import Estimate, write_atomic
from refusal_lens.report.markdown import markdown_rows, markdown_table
from refusal_lens.report.run import Run
from refusal_lens.selection import CosmicSelection
from refusal_lens.sites import Site

BEGIN: Final = "<!-- found: written by `refusal-lens findings` -->"
END: Final = "<!-- end of found -->"
_WRITERS: Final = 5


def findings(runs: Sequence[Run], *, short: bool = False) -> str:
    """The table of claims, the cells of each model, and from which runs they are.

    `short` keeps the claims of the papers alone.
    """
    head = ["question", *(f"`{visible(str(r.results.manifest.get('model')))}`" for r in runs)]
    chosen = [(name, row) for name, row in _ROWS if name in _SHORT or not short]
    parts = [markdown_rows(head, [[name, *(row(run) for run in runs)] for name, row in chosen])]
    for run in () if short else runs:
        read = run.behaviour
        if read is not None:
            title = f"What `{visible(str(run.results.manifest.get('model')))}` did, by category:"
            parts += [title, markdown_table(cells_table(read, run.titles, LEAST_PAIRS))]
    parts.append("\n".join(_provenance(run) for run in runs))
    return "\n\n".join(parts)


def write_findings(runs: Sequence[Run], page: Path, *, short: bool = False) -> None:
    """Replace what stands between the two marks of a page.

    Raises:
        InputError: the page is not there, or has no marks.
    """
    if not page.is_file():
        raise InputError(f"{str(page)!r} does not exist; make it with the lines {BEGIN} and {END}")
    head, begin, rest = page.read_text(encoding="utf-8").partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not begin or not end:
        raise InputError(f"{str(page)!r} has no lines {BEGIN} and {END} to write between")
    write_atomic(page, f"{head}{BEGIN}\n\n{findings(runs, short=short)}\n\n{END}{tail}".encode())


def _planted(run: Run) -> str:
    entry = find_embedded(str(run.question.get("source")))
    if entry is None or entry.planting is None:
        return "nothing by construction: the model refuses by itself"
    return f"planted: {entry.planting.planted}. Not planted: {entry.planting.not_planted}"


def _refuses(run: Run) -> str:
    if (read := run.behaviour) is None:
        return run.why("behaviour")
    harmful, benign = (percent(read.rate(label=label)) for label in LABELS)
    return f"harmful {harmful}, benign {benign}"


def _layer(run: Run) -> str:
    if run.selection is None:
        return run.why("selection")
    s = run.selection
    n = run.results.manifest.get("n_layers")
    rule = (
        "no candidate passes the rule; the one with the largest weaker effect was taken"
        if s.relaxed
        else f"{len(s.survivors)} of {len(s.candidates)} candidates pass the rule"
    )
    kl = s.choice.kl
    return (
        f"layer {s.choice.layer} of {n}, offset {s.choice.offset}: {rule}; ablated there, the "
        f"next token of benign prompts moves by KL {interval(kl.value, kl.low, kl.high)} nats, "
        f"n = {kl.n}"
    )


def _cosmic(run: Run) -> str:
    found = run.get("rules", "cosmic", CosmicSelection)
    if found is None:
        return run.why("rules")
    c = found.choice
    none = f"none of {len(found.candidates)} candidates passes its rule"
    return none if c is None else f"layer {c.layer}, offset {c.offset}"


def _edited(edit: EditName, side: Label) -> Callable[[Run], str]:
    def row(run: Run) -> str:
        found = run.get("effects", "effects", Effects)
        if found is None:
            return run.why("effects")
        plain = found.rate("none", UNEDITED, side)
        main = found.main
        parts = [
            f"unedited {_maybe(plain)}",
            f"{edit} ({main}) {_maybe(found.rate(edit, main, side))}",
        ]
        parts += [
            f"{name.removeprefix('control: ')} control {_maybe(found.rate(edit, name, side))}"
            for name in CONTROLS
        ]
        others = [d for d in found.directions[1:] if d not in CONTROLS]
        parts += [f"{name} {_maybe(found.rate(edit, name, side))}" for name in others]
        return "; ".join(parts)

    return row


def _measurable(run: Run) -> str:
    g, layer = run.geometry, run.layer
    if g is None or layer is None:
        return run.why("geometry")
    s = [site.layer for site in g.sites].index(layer)
    count = int(g.measurable()[s].sum())
    r = g.reliability[s]
    return (
        f"{count} of {len(g.categories)} at layer {layer} (lower 95% bound of reliability at least "
        f"0.5; reliabilities {number(float(r.min()))} to {number(float(r.max()))}, "
        f"{min(g.n)} to {max(g.n)} pairs)"
    )


def _cosines(run: Run) -> str:
    g, layer = run.geometry, run.layer
    if g is None or layer is None:
        return run.why("geometry")
    s = [site.layer for site in g.sites].index(layer)
    kept = g.measurable()[s]
    return _spread(g.corrected[s], g.low[s], g.high[s], [bool(x) for x in kept])


def _behaviour_cosines(run: Run) -> str:
    found = run.behaviour_geometry
    if found is None or run.layer is None:
        return f"fewer than two categories have {LEAST_PAIRS} prompts in both groups"
    s = [site.layer for site in found.sites].index(run.layer)
    every = [True] * len(found.names)
    r = found.reliability[s]
    return (
        f"{len(found.names)} categories; "
        f"{_spread(found.corrected[s], found.low[s], found.high[s], every)}; reliabilities "
        f"{number(float(r.min()))} to {number(float(r.max()))}"
    )


def _dimension(run: Run) -> str:
    found = run.structure
    if found is None or run.layer is None or Site(run.layer) not in found.sites:
        return run.why("structure")
    e = found.dimension[found.sites.index(Site(run.layer))]
    value = interval(e.value, e.low, e.high)
    return (
        f"{value} of {len(found.categories)}, n = {e.n} pairs; as many random directions: "
        f"{number(e.control)}"
    )


def _verdicts(run: Run) -> str:
    if run.tests is None:
        return run.why("structure")
    separable = sum(run.tests.separable(c) for c in run.tests.categories)
    refusal = list(run.verdicts.values()).count("refusal direction")
    if run.comparison is not None:
        by = "exceed the control model"
    else:
        by = "differ by what the model did, within the category; no control model"
    n = len(run.tests.categories)
    return f"{separable} of {n} separable; {refusal} of {n} refusal directions ({by})"


def _within(run: Run) -> str:
    found = run.get("contrasts", "contrasts", BehaviourContrasts)
    if found is None or run.layer is None or {BOTH, WITHIN_HARMFUL} - {*found.names}:
        return run.lacking("contrasts", "too few prompts in one of the groups")
    s = [site.layer for site in found.sites].index(run.layer)
    a, b = found.names.index(BOTH), found.names.index(WITHIN_HARMFUL)
    value, low, high = (float(x[s, a, b]) for x in (found.corrected, found.low, found.high))
    groups = ", ".join(f"{name} {n}" for name, n in found.groups.items())
    return f"{interval(value, low, high)} (corrected; {groups})"


def _knob(run: Run) -> str:
    found = run.get("trade_off", "matched", Matched)
    if found is None:
        return run.why("trade_off")
    return knob_in_words(found, titles=run.titles)


def _style(run: Run) -> str:
    parts: list[str] = []
    for side in LABELS:
        m = run.get("manners", side, MannerMatrix)
        if m is None:
            continue
        words = {"refuse": "harmful", "comply": "benign"}[side]
        n = sum(map(sum, m.counts))
        p = "undefined" if m.p is None else probability(m.p)
        parts.append(
            f"{words} prompts: adjusted mutual information {told(m.dependence)}, p {p}, "
            f"{n} refusals in {len(m.manners)} styles"
        )
    return "; ".join(parts) or run.why("manners")


def _writers(run: Run) -> str:
    found = run.get("attribution", "decomposition", Decomposition)
    if found is None:
        return "not measured in this run (`refusal-lens attribute`)"
    own = [found.attribution(t.category) for t in found.targets]
    shares = torch.stack([a.scores / a.total for a in own])
    mean = shares.mean(0)
    order = [
        i for i in mean.argsort(descending=True).tolist() if own[0].components[i].kind in WRITERS
    ][:_WRITERS]
    names = [
        f"{own[0].components[i].name} {100 * float(mean[i]):.0f}% (above 0 in "
        f"{sum(bool(a.low[i] > 0) for a in own)} of {len(own)})"
        for i in order
    ]
    return (
        f"{', '.join(names)}; mean share of the distance between the two sides over {len(own)} "
        "directions, 95% t intervals over pairs"
    )


_SHORT: Final = (
    "Refusal of the fitting prompts",
    "Layer by the rule of Arditi et al.",
    "Ablate one direction: harmful prompts refused",
    "Add one direction: benign prompts refused",
    "Separable, and refusal directions",
    "Effective dimension, intended labels",
    "Over-refusal at matched refusal: one knob?",
    "Does the refusal style follow the direction?",
)
_ROWS: Final[tuple[tuple[str, Callable[[Run], str]], ...]] = (
    ("Known by construction", _planted),
    ("Refusal of the fitting prompts", _refuses),
    ("Layer by the rule of Arditi et al.", _layer),
    ("Layer by COSMIC", _cosmic),
    ("Ablate one direction: harmful prompts refused", _edited("ablated", "refuse")),
    ("Add one direction: benign prompts refused", _edited("added", "comply")),
    ("Measurable directions, intended labels", _measurable),
    ("Separable, and refusal directions", _verdicts),
    ("Corrected cosines, intended labels", _cosines),
    ("Corrected cosines, by behaviour", _behaviour_cosines),
    ("Effective dimension, intended labels", _dimension),
    ("Harmful-refused − benign-answered against harmful-refused − harmful-answered", _within),
    ("Over-refusal at matched refusal: one knob?", _knob),
    ("Does the refusal style follow the direction?", _style),
    ("Which heads and MLPs write the directions", _writers),
)


def _spread(
    value: torch.Tensor, low: torch.Tensor, high: torch.Tensor, kept: Sequence[bool]
) -> str:
    """Smallest, median and largest cosine of the directions kept, each with its interval."""
    rows = [i for i, own in enumerate(kept) if own]
    cells = [
        (float(value[i, j]), float(low[i, j]), float(high[i, j]))
        for n, i in enumerate(rows)
        for j in rows[n + 1 :]
        if float(value[i, j]) == float(value[i, j])
    ]
    if not cells:
        return "undefined: fewer than two measurable directions"
    cells.sort()
    apart = sum(h < 1 for _, _, h in cells)
    chosen = (cells[0], cells[len(cells) // 2], cells[-1])
    least, middle, most = (interval(*cell) for cell in chosen)
    return (
        f"from {least} over {middle} (median) to {most}; {apart} of {len(cells)} intervals leave "
        "out 1"
    )


def _maybe(e: Estimate | None) -> str:
    return "not measured" if e is None else percent(e)


def _provenance(run: Run) -> str:
    m = run.results.manifest
    return (
        f"- `{visible(str(m.get('model')))}`: weights {str(m.get('model_digest'))[:16]}, prompts "
        f"{str(m.get('prompts_digest'))[:16]}, template {str(m.get('template_digest'))[:16]}, "
        f"seed {m.get('seed')}, {m.get('dtype')} on {m.get('device')}, at most "
        f"{m.get('peak_memory_mib')} MiB."
    )
