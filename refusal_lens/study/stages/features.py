"""Latents of a sparse autoencoder that fire on refused prompts, and cards of them."""

from typing import Final

from refusal_lens.attribution import promoted_tokens
from refusal_lens.directions import Direction
from refusal_lens.errors import InputError
from refusal_lens.evaluation import Answers, evaluate
from refusal_lens.model import Decoding
from refusal_lens.progress import Progress
from refusal_lens.prompts import PromptSet
from refusal_lens.sparse import (
    Context,
    FeatureCard,
    FeatureCards,
    FiringRule,
    FiringTests,
    Listed,
    Pool,
    SparseAutoencoder,
    compare_firing,
    cosine_to,
    equally_firing,
    measured_difference,
    permuted,
    published_lists,
    quality_of,
    rate_difference,
    removed_share,
    top_contexts,
)
from refusal_lens.sparse.summary import FeatureSummary
from refusal_lens.study.features import OFFSET, FeatureSizes, Read, pooled_at, read_prompts, sae_of
from refusal_lens.study.fitted import FitSizes, Gap
from refusal_lens.study.key import Key
from refusal_lens.study.stage import Bench, Outline, Records, Stage, Work
from refusal_lens.study.stages.behaviour import BEHAVIOUR, BehaviourSizes
from refusal_lens.study.stages.score import HELD_OUT, ScoreSizes

FIRING: Final = Key("features", "firing", FiringTests)
SUMMARY: Final = Key("features", "summary", FeatureSummary)
CARDS: Final = Key("features", "cards", FeatureCards)
_PROMOTED: Final = 8
_LONGEST: Final = 4.0
"""In lengths of the vectors that are compared: longer ones, as the first token's, aren't edited."""


def features(bench: Bench, tick: Progress) -> Records:
    """Which latents fire more on refused prompts, chosen on `train`, measured on `val`."""
    sae, sizes = sae_of(bench), bench.size(FeatureSizes)
    choosing = read_prompts(bench, bench.results.get(BEHAVIOUR), tick)
    made = bench.model.provenance(choosing.prompts, bench.study.seed)
    rule = FiringRule(least=sizes.feature_least)
    try:
        tests = compare_firing(
            choosing.pool, rule, sae=sae.name, site=sae.site, offset=OFFSET, provenance=made
        )
    except InputError as error:
        raise Gap(str(error)) from None
    measuring = read_prompts(bench, _held_out(bench), tick)
    chosen = tests.ranked(sizes.feature_latents)
    controls = _controls(bench, choosing.pool, tests, chosen)
    refused, pooled = choosing.resid[choosing.pool.refused], pooled_at(bench, sae.site)
    summary = FeatureSummary(
        sae.name,
        quality_of(sae, choosing.resid),
        Listed.of(tests),
        tests.expected_core,
        permuted(choosing.pool, tests, draws=sizes.feature_permutations, seed=bench.study.seed),
        published_lists(tests.difference, tests.categories),
        chosen,
        controls,
        measured_difference(measuring.pool, chosen, controls) if chosen else None,
        cosine_to(pooled.vector, sae, chosen, controls) if chosen and pooled else None,
        removed_share(sae, refused, chosen, controls) if chosen else None,
        _LONGEST * float(choosing.resid.norm(dim=-1).median()),
        made,
    )
    cards = _cards(bench, sae, tests, measuring, tick)
    return {FIRING: tests, SUMMARY: summary, CARDS: cards}


def _held_out(bench: Bench) -> Answers:
    """Read answers to held-out prompts: the study's, or read now."""
    read = bench.results.find(HELD_OUT)
    if read is not None:
        return read
    decoding = Decoding(bench.size(BehaviourSizes).behaviour_tokens)
    return evaluate(bench.model, _val(bench), bench.judge, decoding=decoding)


def _controls(
    bench: Bench, pool: Pool, tests: FiringTests, chosen: tuple[int, ...]
) -> tuple[tuple[int, ...], ...]:
    """Draws of latents in no list that fire as often, one for each chosen latent.

    None where nothing is chosen, or nearly everything is listed.
    """
    listed = tuple((tests.n_lists > 0).nonzero()[:, 0].tolist())
    if not chosen or len(tests.n_lists) - len(listed) < len(chosen):
        return ()
    seeds = [bench.study.seed + i for i in range(bench.size(FeatureSizes).feature_controls)]
    return tuple(equally_firing(pool.rate, chosen, excluded=listed, seed=s) for s in seeds)


def _cards(
    bench: Bench, sae: SparseAutoencoder, tests: FiringTests, read: Read, tick: Progress
) -> FeatureCards:
    """Cards of the latents in most lists, and of the strongest in one list or two."""
    sizes = bench.size(FeatureSizes)
    latents = list(tests.ranked(sizes.feature_latents))
    strongest = tests.difference.max(0).values
    tail = sorted(set(tests.tail) - {*latents}, key=lambda i: -float(strongest[i]))
    latents += tail[: sizes.feature_tail_cards]
    contexts = top_contexts(bench.model, sae, read.prompts, latents, progress=tick)
    cards = tuple(_card(bench, tests, read.pool, latent, contexts[latent]) for latent in latents)
    return FeatureCards(cards, len(read.prompts), bench.model.provenance(read.prompts))


def _card(
    bench: Bench, tests: FiringTests, pool: Pool, latent: int, contexts: tuple[Context, ...]
) -> FeatureCard:
    sae, rates = sae_of(bench), zip(tests.refused_rate, tests.answered_rate, strict=True)
    fires, refused = pool.fires[:, latent], pool.refused
    pooled = pooled_at(bench, sae.site)
    row = Direction.from_difference(
        sae.w_dec[latent],
        category=f"latent {latent}",
        site=sae.site,
        offset=OFFSET,
        provenance=tests.provenance,
    )
    n_lists = int(tests.n_lists[latent])
    return FeatureCard(
        latent,
        role_of(tests, latent),
        n_lists,
        float(tests.difference[:, latent].mean()),
        rate_difference(
            int(fires[refused].sum()),
            int(refused.sum()),
            int(fires[~refused].sum()),
            int((~refused).sum()),
        ),
        {
            category: (float(on[latent]), float(off[latent]))
            for category, (on, off) in zip(tests.categories, rates, strict=True)
        },
        contexts,
        promoted_tokens(bench.model, row, most=_PROMOTED).raised,
        None if pooled is None else float(row.vector @ pooled.vector),
    )


def role_of(tests: FiringTests, latent: int) -> str:
    """What a listed latent is called: "core" in all lists, "tail" in one or two, else "shared".

    "listed" where there are no several lists that it could be in.
    """
    if len(tests.categories) < 2:
        return "listed"
    return "core" if latent in tests.core else "tail" if latent in tests.tail else "shared"


def _val(bench: Outline) -> PromptSet:
    return bench.split("val", bench.size(ScoreSizes).val_pairs)


def _work(bench: Outline) -> Work:
    # The held-out prompts are read twice: at their last token, and at each of their tokens.
    return Work(len(bench.train) + 2 * len(_val(bench)))


STAGE: Final = Stage(
    "features",
    "latents that fire on refused prompts",
    run=features,
    work=_work,
    writes=(FIRING, SUMMARY, CARDS),
    needs=("behaviour", "directions"),
    after=("score", "contrasts"),
    uses=(FitSizes, BehaviourSizes, ScoreSizes, FeatureSizes),
    plan="features",
    place=420,
)
