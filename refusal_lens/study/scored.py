"""Which categories have a score that can be trusted, and the held-out prompts in them."""

from collections.abc import Sequence

from refusal_lens.attribution import Score, opening_score_of, refusal_metric
from refusal_lens.errors import InputError
from refusal_lens.evaluation.scoring import scored
from refusal_lens.judges import ScoreTrust
from refusal_lens.progress import Progress
from refusal_lens.prompts import Label, PromptSet
from refusal_lens.selection import Candidate, score_candidates
from refusal_lens.study.fitted import Gap, defined, pooled_set
from refusal_lens.study.stage import Bench
from refusal_lens.study.stages.score import HELD_OUT, TRUST


def trust_of(bench: Bench) -> ScoreTrust:
    """Which score stands for a read verdict in each category."""
    return bench.results.get(TRUST)


def asked(bench: Bench, label: Label, n: int) -> PromptSet:
    """Held-out prompts that the unedited model treats as intended, in categories with a score."""
    val = bench.prompts.only(split="val")
    read = bench.results.get(HELD_OUT)
    kept = scored(
        read.as_intended(PromptSet(tuple(p for p in val if p.id in set(read.ids)))), trust_of(bench)
    )
    chosen = bench.spread(kept, label, n)
    if len(chosen) < 2:
        raise Gap(
            f"only {len(chosen)} {label}-side prompts of `val` are treated as intended in a "
            "category whose score can be trusted; at least 2 are needed"
        )
    return chosen


def pooled_scores(
    bench: Bench, places: Sequence[tuple[int, int]], n: int, tick: Progress
) -> tuple[Candidate, ...]:
    """The pooled direction at each place, ablated and added, on `n` prompts of each side."""
    return score_candidates(
        bench.model,
        defined(pooled_set(bench.results), places),
        trust_of(bench),
        harmful=asked(bench, "refuse", n),
        harmless=asked(bench, "comply", n),
        progress=tick,
    )


def scored_categories(bench: Bench) -> tuple[str, ...]:
    """Categories of the test prompts in which the first token stands for a verdict."""
    if not bench.results.has(TRUST):
        return ()
    trusted = trust_of(bench).trusted()
    return tuple(c for c in bench.prompts.only(split="test").categories if c in trusted)


def patched_categories(bench: Bench) -> tuple[str, ...]:
    """Categories of the test prompts in which the first token or openings stand for a verdict."""
    if not bench.results.has(TRUST):
        return ()
    mode = trust_of(bench).mode
    kept = ("first token", "opening")
    return tuple(c for c in bench.prompts.only(split="test").categories if mode.get(c) in kept)


def scores_of(bench: Bench, categories: Sequence[str]) -> dict[str, Score]:
    """Each category's score: the first token's or its own openings'.

    Raises:
        Gap: a category of which only generation can say whether it was refused.
    """
    trust = trust_of(bench)
    opened = [c for c in dict.fromkeys(categories) if trust.mode.get(c) == "opening"]
    rest = [c for c in dict.fromkeys(categories) if c not in opened]
    scores: dict[str, Score] = {c: opening_score_of(trust, c) for c in opened}
    try:
        return scores | dict.fromkeys(rest, refusal_metric(trust, rest))
    except InputError as error:
        raise Gap(str(error)) from None
