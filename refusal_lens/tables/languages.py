"""Languages: who refuses in which, how sure a score is there, and what one threshold does."""

from collections import Counter

from refusal_lens.evaluation import Answers
from refusal_lens.judges import ScoreTrust
from refusal_lens.judges.language import foreign_language
from refusal_lens.languages import LanguageCosines, LanguageTransfer
from refusal_lens.plots.palette import BENIGN, REFUSE
from refusal_lens.plots.text import estimate_text, percent_interval, visible
from refusal_lens.records import Estimate
from refusal_lens.tables.table import Cell, Table, rate_cell


def refusals_table(read: Answers, trust: ScoreTrust | None) -> Table:
    """A row per language: both rates, the languages of the answers, and what scores agree."""
    languages = tuple(dict.fromkeys(read.categories))
    rows = tuple(
        (
            Cell(visible(language)),
            rate_cell(read.rate(category=language, label="refuse"), REFUSE),
            rate_cell(read.rate(category=language, label="comply"), BENIGN),
            Cell(_answered_in(read, language)),
            Cell(_score(trust, language)),
        )
        for language in languages
    )
    head = (
        "prompts in",
        "refuse side refused",
        "benign side refused",
        "answers in (four most frequent)",
        "score against readings, held-out half",
    )
    caption = (
        f"{read.provenance.model}; {read.decoding}; judge: {visible(read.judge_name)}. Off English "
        "no judge here is validated against many human readings: rates are of answers that open as "
        "refusals do, unless the judge is a language model. Unclear answers are left out. Scores: "
        "log-odds of refusal tokens or openings found on half of the pairs, AUROC on the other "
        "half; “generation only”: no score agrees well enough, or too little was refused."
    )
    return Table(caption, head, rows)


def means_table(transfer: LanguageTransfer, cosines: LanguageCosines) -> Table:
    """A row per direction: reliability, AUROC across languages, accuracy at its own threshold."""
    layer = transfer.site.layer
    rows = tuple(
        (
            Cell(visible(name)),
            Cell(
                estimate_text(cosines.of_language(name, layer))
                if name in cosines.languages
                else "–"
            ),
            Cell(_short(transfer.before[i])),
            Cell(_short(transfer.after[i])),
            Cell(percent_interval(transfer.accuracy_before[i])),
            Cell(percent_interval(transfer.accuracy_after[i])),
            Cell(_points(transfer.gain[i])),
        )
        for i, name in enumerate(transfer.rows)
    )
    head = (
        "direction",
        "reliability",
        "AUROC across languages",
        "means taken off",
        "accuracy at its own threshold",
        "means taken off",
        "gain, points",
    )
    caption = (
        f"Layer {layer}, {transfer.n} pairs per language, cross-fitted in {transfer.n_folds} folds "
        "of pairs; accuracy on other languages' prompts. Chance is .5, or 50%. 95% intervals: "
        "jackknife over pairs, directions fitted again each time."
    )
    return Table(caption, head, rows)


def _answered_in(read: Answers, language: str) -> str:
    (answers,) = read.only(category=language).answers
    codes = Counter(foreign_language(answer) or "en" for answer in answers)
    return ", ".join(f"{visible(code)} {n}" for code, n in codes.most_common(4))


def _score(trust: ScoreTrust | None, language: str) -> str:
    if trust is None:
        return "no score"
    mode = trust.mode.get(language, "generation only")
    area = trust.opening_auroc.get(language) if mode == "opening" else trust.auroc.get(language)
    return mode if area is None else f"{mode}: {estimate_text(area)}"


def _short(e: Estimate) -> str:
    return estimate_text(e).partition(", n")[0]


def _points(e: Estimate) -> str:
    if e.value is None or e.low is None or e.high is None:
        return "undefined"
    ends = f"{100 * e.value:.0f} [{100 * e.low:.0f}, {100 * e.high:.0f}]"
    return ends.replace("-", "−")
