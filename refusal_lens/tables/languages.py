"""Languages: who refuses in which, how sure a score is there, and what one threshold does."""

from collections import Counter

from refusal_lens.evaluation import Answers
from refusal_lens.judges import ScoreTrust
from refusal_lens.judges.language import foreign_language
from refusal_lens.judges.raw_output import extract_answer
from refusal_lens.languages import LanguageCosines, LanguageTransfer, language_name
from refusal_lens.plots.palette import BENIGN, REFUSE
from refusal_lens.plots.text import (
    estimate_text,
    percent_interval,
    points_interval,
    value_interval,
    visible,
)
from refusal_lens.tables.table import Cell, Table, rate_cell


def refusals_table(read: Answers, trust: ScoreTrust | None) -> Table:
    """A row per language: both rates, the languages of the answers, and what scores agree."""
    languages = tuple(dict.fromkeys(read.categories))
    rows = tuple(
        (
            Cell(visible(language_name(language))),
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
        f"{visible(read.provenance.model)}; {read.decoding}; judge: {visible(read.judge_name)}. "
        "Off English no judge here is validated against many human readings: rates are of answers "
        "that open as refusals do, unless the judge is a language model. Unclear answers are left "
        "out. Scores: log-odds of refusal tokens or openings found on half of the pairs, AUROC on "
        "the other half; “generation only”: no score agrees well enough, or too little was refused."
    )
    return Table(caption, head, rows)


def means_table(transfer: LanguageTransfer, cosines: LanguageCosines) -> Table:
    """A row per direction: reliability, AUROC across languages, accuracy at its own threshold."""
    layer = transfer.site.layer
    reliability = {
        name: value_interval(cosines.of_language(name, layer)) for name in cosines.languages
    }
    rows = tuple(
        (
            Cell(visible(language_name(name))),
            Cell(reliability.get(name, "–")),
            Cell(value_interval(transfer.before[i])),
            Cell(value_interval(transfer.after[i])),
            Cell(percent_interval(transfer.accuracy_before[i])),
            Cell(percent_interval(transfer.accuracy_after[i])),
            Cell(points_interval(transfer.gain[i])),
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
    extracted = [x for x in map(extract_answer, answers) if x.reason is None]
    codes = Counter(foreign_language(x.text) or "en" for x in extracted)
    return ", ".join(f"{visible(code)} {n}" for code, n in codes.most_common(4))


def _score(trust: ScoreTrust | None, language: str) -> str:
    if trust is None:
        return "no score"
    mode = trust.mode.get(language, "generation only")
    area = trust.opening_auroc.get(language) if mode == "opening" else trust.auroc.get(language)
    return mode if area is None else f"{mode}: {estimate_text(area)}"
