"""Attribution under an edit that is on: as hooks by hand make it, or refused with what to do.

By hand: whole prompts one at a time, without cache or batch, the edit written as a hook, and the
patch as a hook behind it. Scores of order 1 to 10 differ by at most 2e-6 (float32); 1e-4 is
asserted.
"""

from dataclasses import dataclass
from typing import Any

import pytest
import torch

from refusal_lens.attribution import (
    Anatomy,
    Component,
    Cuts,
    OpeningScore,
    PatchSite,
    Placebo,
    attribution_patch,
    decompose,
    decompose_prompt,
    head_path,
    head_paths,
    head_sources,
    knock_out,
    logit_lens,
    mlp_neurons,
    pairs_of,
    patch,
    token_map,
)
from refusal_lens.directions import Direction, fit_mean_difference
from refusal_lens.errors import InputError
from refusal_lens.interventions import Ablate, Add, Cosine, Only, PerRow, When
from refusal_lens.judges.first_token import log_odds
from refusal_lens.model import Decoding
from refusal_lens.records import Provenance
from refusal_lens.sites import Site

TOLERANCE = 1e-4
WIDTH = 32
LAYER = 1
READ_AT = -15  # a token of the request: the template's own are alike in all prompts
FROM = Provenance("hand", "", "", "", "none", "float32", "cpu", None)
SITES = (
    PatchSite("resid_pre", 1, -1),
    PatchSite("resid_pre", 2, -2),
    PatchSite("attn_out", 0, None),
    PatchSite("mlp_out", 1, None),
    PatchSite("head", 1, None, 2),
    PatchSite("head", 2, None, 1),
)
KINDS = ("everywhere", "resid_mid", "at offsets", "generated", "when", "per row")


def direction(seed: int) -> Direction:
    generator = torch.Generator().manual_seed(seed)
    return Direction.from_difference(
        torch.randn(WIDTH, generator=generator),
        category="red",
        site=Site(LAYER),
        offset=READ_AT,
        provenance=FROM,
        low=0.0,
    )


A, B = direction(0), direction(1)


@dataclass
class Case:
    """An edit, and by hand what it does at which hook point of each prompt (by its number)."""

    edit: Any
    point: str
    acts: Any  # (number of the prompt, its length, x) -> x


def plus(vector: torch.Tensor, where: Any = slice(None)) -> Any:
    def act(x: torch.Tensor) -> torch.Tensor:
        x = x.clone()
        x[:, where] += 4.0 * vector
        return x

    return act


def without(x: torch.Tensor) -> torch.Tensor:
    return x - (x @ A.vector)[..., None] * A.vector


def case_of(kind: str, model: Any, prompts: list[tuple[int, ...]]) -> Case:
    """An edit of a kind, for a call with these prompts."""
    everywhere = plus(A.vector)
    add = Add(A, alpha=4.0)
    if kind == "everywhere":
        edit = Ablate(A, at=(Site(LAYER), Site(LAYER, "mlp_out")))
        return Case(edit, "resid_pre and mlp_out", lambda i, n, x: without(x))
    if kind == "resid_mid":
        return Case(
            Ablate(A, at=(Site(LAYER, "resid_mid"),)), "resid_mid", lambda i, n, x: without(x)
        )
    if kind == "at offsets":
        edit = Only(add, "prompt", offsets=(-2, -1))
        return Case(edit, "resid_pre", lambda i, n, x: plus(A.vector, slice(n - 2, n))(x))
    if kind == "generated":
        edit = Only(add, "generated")
        return Case(edit, "resid_pre", lambda i, n, x: plus(A.vector, slice(n, None))(x))
    if kind == "when":
        values = [float(cosine(model, ids)) for ids in prompts]
        threshold = sum(sorted(values)[len(values) // 2 - 1 :][:2]) / 2
        assert 0 < sum(v > threshold for v in values) < len(values)
        edit = When(Cosine(A, "above", threshold), add)
        return Case(
            edit, "resid_pre", lambda i, n, x: everywhere(x) if values[i] > threshold else x
        )
    other = Add(B, alpha=4.0)
    edits = [(None, add, other)[i % 3] for i in range(len(prompts))]
    acts = (lambda x: x, everywhere, plus(B.vector))
    return Case(PerRow(tuple(edits)), "resid_pre", lambda i, n, x: acts[i % 3](x))


def cosine(model: Any, ids: tuple[int, ...]) -> torch.Tensor:
    x = run(model, ids, [], Site(LAYER).hook_name)[1][0, READ_AT]
    return x @ A.vector / x.norm()


def hooks_of(case: Case, number: int, n: int, over: list[Any]) -> list[Any]:
    """The edit's hooks for one prompt of `n` tokens, with hooks `over` behind each of them."""

    def act(x: torch.Tensor, hook: Any) -> torch.Tensor:
        return case.acts(number, n, x)

    if case.point != "resid_mid":
        points = ["resid_pre", "mlp_out"] if "mlp_out" in case.point else ["resid_pre"]
        return [*((f"blocks.{LAYER}.hook_{p}", act) for p in points), *over]
    seen: dict[str, torch.Tensor] = {}

    def keep(x: torch.Tensor, hook: Any) -> None:
        seen["input"] = x

    def write(x: torch.Tensor, hook: Any) -> torch.Tensor:
        return case.acts(number, n, seen["input"] + x) - seen["input"]

    middle = [(f"blocks.{LAYER}.hook_resid_pre", keep), (f"blocks.{LAYER}.hook_attn_out", write)]
    return [*over, *middle]


def run(
    model: Any, ids: tuple[int, ...], hooks: list[Any], name: str | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits of every token, and the activation at a hook point."""
    seen = [torch.zeros(0)]

    def read(x: torch.Tensor, hook: Any) -> None:
        seen[0] = x.detach().clone()

    row = torch.tensor([ids])
    reading = [] if name is None else [(name, read)]
    with torch.no_grad(), model.backend.hooks([*hooks, *reading]):
        logits = model.backend.forward(row, torch.ones_like(row), keep=range(len(ids))).logits
    return logits[0], seen[0]


def score_of(model, ids, openings, case=None, number=0, over=()):
    """Log-odds of the openings, by hand."""
    n, p = len(ids), 0.0
    for opening in openings:
        hooks = list(over) if case is None else hooks_of(case, number, n, list(over))
        logits, _ = run(model, (*ids, *opening), hooks)
        log_p = logits.double().log_softmax(-1)[n - 1 : n + len(opening) - 1]
        p += float(log_p[torch.arange(len(opening)), torch.tensor(opening)].sum().exp())
    return float(log_odds(torch.tensor(p, dtype=torch.float64)))


def activation(model, ids, site, case, number):
    """A site's activation at the template's end, behind the edit."""
    n = len(ids)
    x = run(model, ids, hooks_of(case, number, n, []), site.hook_name)[1]
    return x[:, n - model.chat.n_post :]


def writer(site, n, n_post, value, *, step=False):
    """A hook that puts a value at a site, or adds it, at the prompt's tokens of the site."""
    at = torch.arange(n - n_post, n) if site.offset is None else torch.tensor([n + site.offset])
    rows = at - (n - n_post)

    def function(x, hook):
        x = x.clone()
        place = (slice(None), at) if site.head is None else (slice(None), at, site.head)
        taken = value[:, rows] if site.head is None else value[:, rows, site.head]
        x[place] = x[place] + taken if step else taken
        return x

    return [(site.hook_name, function)]


@pytest.fixture
def pairs(tiny, three_categories):
    return pairs_of(tiny, three_categories.only(category="red"), equal_length=False, most=2)


@pytest.fixture
def openings(tiny, three_categories):
    answers = tiny.generate_ids(three_categories.only(category="red"), Decoding(2))
    return tuple(dict.fromkeys(a for a in answers if len(a) == 2))[:2]


@pytest.mark.parametrize("kind", KINDS)
def test_a_patch_runs_in_the_edited_model(tiny, pairs, openings, kind):
    rows = [ids for p in pairs for ids in (p.clean, p.corrupt)]
    case = case_of(kind, tiny, rows)
    sites, n_post = SITES, tiny.chat.n_post
    with tiny.editing(case.edit):
        patch_map = patch(tiny, pairs, sites, OpeningScore(openings), placebo=Placebo(1))
    plain = patch(tiny, pairs, sites, OpeningScore(openings), placebo=Placebo(0))
    assert (patch_map.patched - plain.patched).abs().max() > 1e-2
    assert patch_map.provenance.edits == repr(case.edit)
    for k, pair in enumerate(pairs):
        clean, corrupt = 2 * k, 2 * k + 1
        for i, ours in ((clean, patch_map.clean[k]), (corrupt, patch_map.corrupt[k])):
            assert abs(float(ours) - score_of(tiny, rows[i], openings, case, i)) < TOLERANCE
        for s, site in enumerate(sites):
            value = activation(tiny, pair.clean, site, case, clean)
            over = writer(site, len(pair.corrupt), n_post, value)
            expected = score_of(tiny, pair.corrupt, openings, case, corrupt, over)
            assert abs(float(patch_map.patched[k, s]) - expected) < TOLERANCE, str(site)


@pytest.mark.parametrize("kind", KINDS)
def test_an_estimate_is_the_slope_in_the_edited_model(tiny, pairs, openings, kind):
    """Central difference, step 1e-2, within 3%; float32 resolves no slopes under 2e-2."""
    rows = [ids for p in pairs for ids in (p.clean, p.corrupt)]
    case = case_of(kind, tiny, rows)
    sites, n_post = SITES, tiny.chat.n_post
    with tiny.editing(case.edit):
        estimates = attribution_patch(tiny, pairs, sites, OpeningScore(openings))
    compared = 0
    for k, pair in enumerate(pairs):
        for s, site in enumerate(sites):
            ends = [
                activation(tiny, ids, site, case, 2 * k + i)
                for i, ids in enumerate((pair.clean, pair.corrupt))
            ]
            scores = [
                score_of(
                    tiny,
                    pair.corrupt,
                    openings,
                    case,
                    2 * k + 1,
                    writer(site, len(pair.corrupt), n_post, x * (ends[0] - ends[1]), step=True),
                )
                for x in (0.01, -0.01)
            ]
            slope = (scores[0] - scores[1]) / 0.02
            if abs(slope) > 2e-2:
                assert float(estimates.estimate[k, s]) == pytest.approx(slope, rel=0.03), str(site)
                compared += 1
    assert compared


@pytest.mark.parametrize("kind", KINDS)
def test_a_token_map_shows_the_edited_stream(tiny_llama, three_categories, kind):
    model, prompt = tiny_llama, three_categories.prompts[2]
    directions = fit_mean_difference(model.residual_stats(three_categories))
    ids, answer = model.chat.ids(prompt), (5, 9, 14)
    if kind == "when":
        case = Case(When(Cosine(A, "above", -0.99), Add(A, alpha=4.0)), "resid_pre", None)
        case.acts = lambda i, n, x: plus(A.vector)(x)
    elif kind == "per row":
        case = Case(PerRow((Add(A, alpha=4.0),)), "resid_pre", None)
        case.acts = lambda i, n, x: plus(A.vector)(x)
    else:
        case = case_of(kind, model, [ids])
    with model.editing(case.edit):
        edited_map = token_map(model, prompt, directions, "red", answer=answer)
    plain = token_map(model, prompt, directions, "red", answer=answer)
    d = directions.at("red", 2)
    _, x = run(model, (*ids, *answer), hooks_of(case, 0, len(ids), []), Site(2).hook_name)
    expected = ((x[0] @ d.vector - d.low) / (d.high - d.low))[-len(edited_map.tokens) :]
    assert torch.allclose(edited_map.coordinate[2], expected, atol=1e-3)
    assert (edited_map.coordinate[2] - plain.coordinate[2]).abs().max() > 1e-2


@pytest.mark.parametrize("kind", KINDS)
def test_the_logit_lens_ends_in_the_edited_models_answer(tiny_llama, three_categories, kind):
    model = tiny_llama
    rows = [model.chat.ids(p) for p in three_categories]
    case = case_of(kind, model, rows)
    with model.editing(case.edit):
        profile = logit_lens(model, three_categories, first)
        scores = first(model.logits(three_categories))
    reds = torch.tensor([(p.category, p.label) == ("red", "refuse") for p in three_categories])
    assert abs(float(profile.mean[-1, 0, 0] - scores[reds].mean())) < TOLERANCE
    by_hand = [
        float(first(run(model, ids, hooks_of(case, i, len(ids), []))[0][-1:])[0])
        for i, ids in enumerate(rows)
        if reds[i]
    ]
    assert abs(float(profile.mean[-1, 0, 0]) - sum(by_hand) / len(by_hand)) < TOLERANCE


def first(logits):
    return logits[:, 7] - logits[:, 8]


@pytest.fixture(scope="module")
def decomposed(tiny_llama, three_categories):
    d = fit_mean_difference(tiny_llama.residual_stats(three_categories)).at("red", 2)
    return d, decompose(tiny_llama, three_categories, [d]).attribution("red")


ENTRIES = {
    "decompose": lambda m, p, pairs, d, attribution: decompose(m, p, [d]),
    "decompose_prompt": lambda m, p, pairs, d, attribution: decompose_prompt(m, p.prompts[0], d),
    "knock_out": lambda m, p, pairs, d, attribution: knock_out(
        m, p, d, attribution, first, cuts=Cuts(counts=(0, 1), draws=1)
    ),
    "head_path": lambda m, p, pairs, d, attribution: head_path(
        m, pairs, Component(1, "head", 2), d
    ),
    "head_paths": lambda m, p, pairs, d, attribution: head_paths(
        m, pairs, [Component(0, "head", 1)], d
    ),
    "head_sources": lambda m, p, pairs, d, attribution: head_sources(m, p.prompts[0], d),
    "mlp_neurons": lambda m, p, pairs, d, attribution: mlp_neurons(m, p, d, 1),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_decomposition_is_refused_under_an_edit_and_runs_outside(
    tiny_llama, three_categories, decomposed, kind
):
    reds = three_categories.only(category="red")
    pairs = pairs_of(tiny_llama, reds, equal_length=False, most=1)
    case = case_of(kind, tiny_llama, [tiny_llama.chat.ids(p) for p in reds])
    for name, entry in ENTRIES.items():
        with (
            tiny_llama.editing(case.edit),
            pytest.raises(InputError, match="call this outside `with model.editing"),
        ):
            entry(tiny_llama, reds, pairs, *decomposed)
        if kind == "when":  # once is enough: outside no edit is left
            assert entry(tiny_llama, reds, pairs, *decomposed) is not None, name


@pytest.mark.parametrize("entry", [patch, attribution_patch])
def test_what_cannot_be_patched_under_an_edit_is_refused_with_what_can(
    tiny_llama, three_categories, entry
):
    model, reds = tiny_llama, three_categories.only(category="red")
    pairs = pairs_of(model, reds, equal_length=False, most=2)
    heads = [PatchSite("head", LAYER, None, h) for h in range(Anatomy(model.backend).n_heads(1))]
    hooks = model.backend.hook_count()
    with model.editing(Ablate(A, at=(Site(LAYER, "resid_mid"),))):
        with pytest.raises(InputError, match=r"attn_out\[1\] and resid_pre\[1\] instead, or patch"):
            entry(model, pairs, [PatchSite("attn_out", LAYER, None)], first)
        assert entry(model, pairs, heads, first).sites == tuple(heads)
    with model.editing(Ablate(A, at=(Site(LAYER, "attn_out"), Site(LAYER)))):
        assert entry(model, pairs, [PatchSite("attn_out", LAYER, None)], first).pairs
    with model.editing(PerRow((Add(A, alpha=1.0), None))):
        with pytest.raises(InputError, match="PerRow holds 2 edits, this call has 4 prompts"):
            entry(model, pairs, heads, first)
        assert entry(model, pairs[:1], heads, first).pairs == (pairs[0].name,)
    assert model.backend.hook_count() == hooks
