"""What ablating latents, and adding the direction that they make, does to refusal."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final

from scipy.stats import false_discovery_control

from refusal_lens.directions import Direction
from refusal_lens.evaluation import UNEDITED, Answers, answer_under
from refusal_lens.evaluation.answering import Edits
from refusal_lens.evaluation.effects import EditName
from refusal_lens.interventions import Ablate, AblateLatents, Add, Edit, Reconstruct
from refusal_lens.model import Decoding, answers_unkept
from refusal_lens.progress import Progress
from refusal_lens.prompts import Label
from refusal_lens.sparse import SparseAutoencoder, decoder_direction, paired_p
from refusal_lens.sparse.summary import FeatureEffect, FeatureEffects
from refusal_lens.study.compared import STEERED_AT, compared_pairs, compared_prompts, of_length
from refusal_lens.study.features import FeatureSizes, pooled_at, sae_of
from refusal_lens.study.fitted import Gap
from refusal_lens.study.key import Key
from refusal_lens.study.stage import Bench, Outline, Records, Stage, Work
from refusal_lens.study.stages.features import SUMMARY

EFFECTS: Final = Key("feature_effects", "effects", FeatureEffects)
ABLATED: Final = Key("feature_effects", "ablated", Answers)
ADDED: Final = Key("feature_effects", "added", Answers)
LATENTS: Final = "latents"
RANDOM: Final = "control: other latents"
DIRECTION: Final = "direction"
RECONSTRUCTION: Final = "control: reconstruction"
_CONDITIONS: Final[dict[EditName, tuple[str, ...]]] = {
    "ablated": (LATENTS, RANDOM, RECONSTRUCTION, DIRECTION),
    "added": (LATENTS, RANDOM, DIRECTION),
}
_SIDES: Final[dict[EditName, Label]] = {"ablated": "refuse", "added": "comply"}
_ANSWERS_OF: Final[dict[EditName, Key[Answers]]] = {"ablated": ABLATED, "added": ADDED}


def feature_effects(bench: Bench, tick: Progress) -> Records:
    """Refusal of harmful prompts with latents ablated, of benign ones with their direction added.

    The autoencoder's error stays. Controls: as many other latents of equal firing rate, whose
    draws the prompts take in turn; the reconstruction without error, which ablates no latent; the
    pooled direction at the same site. What is added is as long as the pooled direction.
    """
    sizes, sae = bench.size(FeatureSizes), sae_of(bench)
    summary = bench.results.get(SUMMARY)
    if not summary.chosen:
        raise Gap("no latent is listed, so that there is nothing to ablate")
    if not summary.controls:
        raise Gap("too few latents are in no list to draw a control from")
    pairs = compared_pairs(bench, sizes.feature_pairs)
    decoding, read = Decoding(sizes.feature_tokens), dict[EditName, Answers]()
    for edit, label in _SIDES.items():
        prompts = pairs.only(label=label)
        edits = _edits(bench, edit, len(prompts))
        if not edits:
            continue
        conditions = [(UNEDITED, None), *edits]
        with answers_unkept(bench.model):
            unread = answer_under(
                bench.model, prompts, conditions, decoding=decoding, progress=tick
            )
        read[edit] = unread.judge(bench.judge).without_words()
    effects = FeatureEffects(
        sae.name,
        len(summary.chosen),
        len(summary.controls),
        read["ablated"].judge_name,
        read["ablated"].decoding,
        _rows(read),
        bench.model.provenance(pairs, bench.study.seed),
    )
    return {EFFECTS: effects, **{_ANSWERS_OF[edit]: answers for edit, answers in read.items()}}


def _edits(bench: Bench, edit: EditName, n: int) -> list[tuple[str, Edits]]:
    """The conditions of one side; prompts take turns over the draws of the control."""
    sae, summary = sae_of(bench), bench.results.get(SUMMARY)
    pooled = pooled_at(bench, sae.site)
    if edit == "ablated":
        chosen = AblateLatents(sae, summary.chosen, summary.longest)
        draws = [AblateLatents(sae, draw, summary.longest) for draw in summary.controls]
        conditions: list[tuple[str, Edits]] = [(LATENTS, chosen), (RANDOM, _in_turn(draws, n))]
        conditions.append((RECONSTRUCTION, Reconstruct(sae, summary.longest)))
        return conditions + ([] if pooled is None else [(DIRECTION, Ablate(pooled, (sae.site,)))])
    if pooled is None:  # whose length is what is added
        return []
    made = [_made(sae, pooled, latents) for latents in (summary.chosen, *summary.controls)]
    added = [Add(d, strength=STEERED_AT, at=sae.site) for d in made]
    return [
        (LATENTS, added[0]),
        (RANDOM, _in_turn(added[1:], n)),
        (DIRECTION, Add(pooled, strength=STEERED_AT, at=sae.site)),
    ]


def _made(sae: SparseAutoencoder, like: Direction, latents: tuple[int, ...]) -> Direction:
    return of_length(decoder_direction(sae, latents), like, f"{len(latents)} latents")


def _in_turn(edits: Sequence[Edit], n: int) -> tuple[Edit, ...]:
    return tuple(edits[i % len(edits)] for i in range(n))


def _rows(read: Mapping[EditName, Answers]) -> tuple[FeatureEffect, ...]:
    """Rates under every condition; what is no control is tested against the other latents."""
    rows: list[FeatureEffect] = []
    tests: dict[tuple[EditName, str], float] = {}
    for edit, answers in read.items():
        label = _SIDES[edit]
        rows.append(FeatureEffect("none", UNEDITED, label, answers.rate(UNEDITED, label=label)))
        for name in answers.conditions[1:]:
            rate = answers.rate(name, label=label, control=UNEDITED)
            rows.append(FeatureEffect(edit, name, label, rate))
            if not name.startswith("control"):
                tests[edit, name] = paired_p(answers.refused(name), answers.refused(RANDOM))
    q = dict(zip(tests, false_discovery_control(list(tests.values())), strict=True))
    return tuple(
        replace(r, q=float(q[r.edit, r.condition])) if (r.edit, r.condition) in q else r
        for r in rows
    )


def _work(bench: Outline) -> Work:
    sizes = bench.size(FeatureSizes)
    n = len(compared_prompts(bench, sizes.feature_pairs)) // 2
    return Work(n * sum(1 + len(names) for names in _CONDITIONS.values()), 2, sizes.feature_tokens)


STAGE: Final = Stage(
    "feature_effects",
    "refusals with latents ablated, or their direction added",
    run=feature_effects,
    work=_work,
    writes=(EFFECTS, ABLATED, ADDED),
    needs=("features", "directions"),
    after=("selection", "contrasts"),
    uses=(FeatureSizes,),
    plan="features",
    place=430,
)
