"""Directions: units, undefined places, and what a notebook shows."""

from dataclasses import replace

import jaxtyping
import pytest
import torch

from refusal_lens.directions import Direction, DirectionSet, fit_mean_difference
from refusal_lens.directions.estimator import NOISE_FLOOR
from refusal_lens.errors import InputError
from refusal_lens.geometry import reliability, unbiased_sq_length
from refusal_lens.linalg import cosine_matrix, project_out, unit
from refusal_lens.records import Provenance
from refusal_lens.residuals import ResidualStats, StatsAccumulator
from refusal_lens.sites import Site

PROVENANCE = Provenance("tiny", "digest", "template", "prefix", "prompts", "float32", "cpu")
WIDTH = 8


def stats_of(refuse, comply, *, paired=True, categories=("red",)) -> ResidualStats:
    """Statistics of one category; sides are [prompt, site, d_model], offset -1."""
    sums = StatsAccumulator(
        categories, tuple(Site(s) for s in range(refuse.shape[1])), (-1,), WIDTH
    )
    both = torch.cat([refuse, comply])[:, None]
    label = torch.tensor([0] * len(refuse) + [1] * len(comply))
    rows = torch.arange(len(refuse))
    pairs = torch.stack([rows, rows + len(refuse)], 1) if paired else rows.new_zeros(0, 2)
    sums.update(both, torch.zeros_like(label), label, pairs)
    return sums.finish(PROVENANCE)


def sides(n_refuse=6, n_comply=6, n_sites=3, seed=0):
    random = torch.Generator().manual_seed(seed)
    refuse = torch.randn(n_refuse, n_sites, WIDTH, generator=random) + 2.0
    return refuse, torch.randn(n_comply, n_sites, WIDTH, generator=random)


def test_a_direction_is_the_unit_difference_of_means():
    refuse, comply = sides()
    directions = fit_mean_difference(stats_of(refuse, comply))
    for s in range(3):
        expected = refuse[:, s].double().mean(0) - comply[:, s].double().mean(0)
        d = directions.at("red", s)
        assert torch.allclose(d.vector.double() * d.scale, expected, atol=1e-5)
        assert abs(float(d.vector.norm()) - 1) < 1e-6
        low = float((comply[:, s] @ d.vector).mean())
        high = float((refuse[:, s] @ d.vector).mean())
        assert d.low == pytest.approx(low, abs=1e-5)
        assert d.high == pytest.approx(high, abs=1e-5)
        assert d.high - d.low == pytest.approx(d.scale, rel=1e-5)
        assert d.high > d.low
    assert directions.count == ((6, 6),)


def test_exchanging_the_sides_turns_the_direction_round():
    refuse, comply = sides()
    a = fit_mean_difference(stats_of(refuse, comply))
    b = fit_mean_difference(stats_of(comply, refuse))
    assert torch.allclose(a.vectors, -b.vectors)
    assert torch.allclose(a.scale, b.scale)


def test_sides_of_different_size_need_no_pairs():
    refuse, comply = sides(7, 4)
    directions = fit_mean_difference(stats_of(refuse, comply, paired=False))
    expected = refuse.double().mean(0) - comply.double().mean(0)
    assert torch.allclose(directions.scale[0, 0].double(), expected.norm(dim=-1), rtol=1e-5)
    assert directions.count == ((7, 4),)


def test_unpaired_noise_is_subtracted_side_by_side():
    """U = |m_r - m_c|^2 - tr(S_r)/n_r - tr(S_c)/n_c with unbiased covariances."""
    refuse, comply = sides(7, 4)
    stats = stats_of(refuse, comply, paired=False)
    assert stats.paired == (False,)
    for s in range(3):
        r, c = refuse[:, s].double(), comply[:, s].double()
        noise = torch.cov(r.T).trace() / 7 + torch.cov(c.T).trace() / 4
        expected = (r.mean(0) - c.mean(0)).square().sum() - noise
        assert float(unbiased_sq_length(stats)[0, 0, s]) == pytest.approx(float(expected))


def test_zero_and_rounding_noise_are_undefined():
    """Site 0: equal sides. Site 1: they differ by half the noise floor. Site 2: by twice it."""
    refuse, comply = sides()
    refuse = refuse.double()
    comply = comply.double()
    comply[:] = refuse
    rms = refuse.square().sum(-1).mean(0).sqrt()
    comply[:, 1, 0] -= 0.5 * NOISE_FLOOR * rms[1]
    comply[:, 2, 0] -= 2.0 * NOISE_FLOOR * rms[2]
    stats = stats_of(refuse, comply)
    directions = fit_mean_difference(stats)
    assert directions.defined().tolist() == [[[0.0, 0.0, 1.0]]]
    assert directions.scale[0, 0, :2].tolist() == [0.0, 0.0]
    assert directions.vectors[0, 0, :2].isnan().all()
    assert torch.allclose(directions.vectors[0, 0, 2], torch.eye(WIDTH)[0], atol=1e-3)
    assert reliability(stats)[0, 0].isnan().tolist() == [True, True, False]
    for layer in (0, 1):
        with pytest.raises(InputError, match=rf"'red' at resid_pre\[{layer}\].*is undefined"):
            directions.at("red", layer)
    assert directions.at("red", 2).scale == pytest.approx(2 * NOISE_FLOOR * float(rms[2]), rel=1e-3)


def test_a_side_without_prompts_is_undefined():
    refuse, _ = sides()
    directions = fit_mean_difference(stats_of(refuse, refuse[:0], paired=False))
    assert not directions.defined().any()
    assert directions.count == ((6, 0),)


def test_a_set_names_what_it_holds():
    directions = fit_mean_difference(stats_of(*sides()))
    with pytest.raises(InputError, match=r"category 'blue' is not in .* holds \['red'\]"):
        directions.at("blue", 1)
    with pytest.raises(InputError, match=r"offset '-2' is not in .* holds \['-1'\]"):
        directions.at("red", 1, -2)
    with pytest.raises(InputError, match=r"site 'resid_pre\[9\]' .*\['resid_pre\[0\]', "):
        directions.at("red", 9)
    with pytest.raises(InputError, match=r"site 'resid_post\[0\]' is not in"):
        directions.at_site("red", Site(0, "resid_post"))
    assert directions.at("red", 1).site == directions.at_site("red", Site(1)).site == Site(1)


@pytest.mark.parametrize("norm", [0.0, 0.99, 1.01, float("nan")])
def test_a_direction_must_be_unit(norm):
    vector = torch.zeros(WIDTH)
    vector[2] = norm
    with pytest.raises(InputError, match="must be a unit vector, has norm .*; build it with"):
        Direction("red", Site(1), -1, vector, 2.0, 0.0, 2.0, PROVENANCE)


def test_a_difference_becomes_a_direction_with_its_length():
    place = {"category": "red", "site": Site(1), "offset": -1, "provenance": PROVENANCE}
    d = Direction.from_difference(torch.tensor([3.0, 0.0, -4.0]), low=-1.0, **place)
    assert torch.allclose(d.vector, torch.tensor([0.6, 0.0, -0.8]))
    assert (d.scale, d.low, d.high) == (5.0, -1.0, 4.0)
    for bad, lacks in (
        (torch.zeros(3), "has no direction"),
        (torch.tensor([1.0, float("nan"), 0.0]), "is not finite"),
        (torch.full((3,), torch.inf), "is not finite"),
    ):
        with pytest.raises(InputError, match=rf"'red' at resid_pre\[1\], offset -1, {lacks}"):
            Direction.from_difference(bad, **place)


def test_html_shows_the_set_and_escapes_names():
    stats = stats_of(*sides(), categories=("<script>alert(1)</script>",))
    stats = replace(stats, provenance=replace(PROVENANCE, model="<b>model</b>"))
    html = fit_mean_difference(stats)._repr_html_()
    assert "<script>" not in html and "<b>" not in html
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in html
    assert "6 + 6" in html
    scale = fit_mean_difference(stats).scale[0, 0]
    assert f"{float(scale.max()):.3g} at resid_pre[{int(scale.argmax())}]" in html


def test_html_of_a_direction_shows_its_numbers_and_escapes_names():
    place = {"site": Site(1), "offset": -1, "low": -1.0}
    source = replace(PROVENANCE, model="<b>model</b>")
    html = Direction.from_difference(
        torch.tensor([3.0, 0.0, -4.0]), category="<i>red</i>", provenance=source, **place
    )._repr_html_()
    assert "<i>" not in html and "<b>" not in html
    assert "&lt;i&gt;red" in html and "&lt;b&gt;model" in html
    for value in ("resid_pre[1]", ">5<", ">4<", ">-1<"):
        assert value in html


def test_a_saved_set_gives_the_same_directions(tmp_path):
    directions = fit_mean_difference(stats_of(*sides()))
    directions.save(tmp_path / "directions")
    again = DirectionSet.load(tmp_path / "directions")
    a, b = directions.at("red", 2), again.at("red", 2)
    assert torch.equal(a.vector, b.vector)
    assert (a.scale, a.low, a.high, a.provenance) == (b.scale, b.low, b.high, b.provenance)


def test_pure_functions():
    x = torch.randn(5, 4, WIDTH, generator=torch.Generator().manual_seed(1))
    x[0, 0] = 0.0
    u = unit(x)
    assert u[0, 0].isnan().all()
    assert torch.allclose(u[1:].norm(dim=-1), torch.ones(4, 4), atol=1e-6)
    cosines = cosine_matrix(x[1:])
    assert torch.allclose(cosines.diagonal(dim1=1, dim2=2), torch.ones(4, 4), atol=1e-6)
    assert torch.equal(cosines, cosines.mT)
    by_hand = torch.nn.functional.cosine_similarity(x[2, 1], x[2, 3], dim=0)
    assert float(cosines[1, 1, 3]) == pytest.approx(float(by_hand), abs=1e-6)
    assert cosine_matrix(x[0])[0].isnan().all() and not cosine_matrix(x[0])[1:, 1:].isnan().any()
    assert (project_out(x, u[1, 1]) @ u[1, 1]).abs().max() < 1e-6


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_normalised_in_float32(dtype):
    place = {"category": "red", "site": Site(1), "offset": -1, "provenance": PROVENANCE}
    raw = 300 * torch.randn(576, generator=torch.Generator().manual_seed(0))  # squares overflow
    d = Direction.from_difference(raw.to(dtype), **place)
    assert d.vector.dtype == torch.float32
    assert float(d.vector.norm()) == pytest.approx(1, abs=1e-6)
    assert float(d.vector @ raw / raw.norm()) == pytest.approx(1, abs=1e-4)
    assert d.scale == pytest.approx(float(raw.norm()), rel=1e-2)
    half = Direction("red", Site(1), -1, d.vector.to(dtype), 2.0, 0.0, 2.0, PROVENANCE)
    assert float(half.vector.norm()) == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"vector": torch.eye(WIDTH)}, "has shape"),
        ({"vector": torch.ones(WIDTH, dtype=torch.int64)}, "floating-point"),
        ({"offset": 10}, "offset 10"),
        ({"offset": 0}, "offset 0"),
        ({"offset": -1.0}, "offset -1.0"),
        ({"scale": 0.0}, "scale 0.0"),
        ({"scale": float("nan")}, "scale nan"),
    ],
)
def test_a_direction_is_checked_when_made(wrong, message, monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    vector = torch.eye(WIDTH)[0]
    given = {"category": "red", "site": Site(1), "offset": -1, "vector": vector, "scale": 2.0}
    with pytest.raises(InputError, match=message):
        Direction(**(given | wrong), low=0.0, high=2.0, provenance=PROVENANCE)


def a_set(**changed):
    """Two categories at one offset and three sites."""
    units = torch.nn.functional.normalize(torch.randn(2, 1, 3, WIDTH), dim=-1)
    fields = {
        "method": "test",
        "categories": ("red", "blue"),
        "offsets": (-1,),
        "sites": (Site(0), Site(1), Site(2)),
        "vectors": units,
        "scale": torch.ones(2, 1, 3),
        "low": torch.zeros(2, 1, 3),
        "high": torch.ones(2, 1, 3),
        "count": ((3, 3), (4, 4)),
        "provenance": PROVENANCE,
    }
    return DirectionSet(**(fields | changed))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"vectors": 3 * torch.ones(2, 1, 3, WIDTH)}, "has length"),
        ({"vectors": torch.eye(WIDTH)[:2]}, "vectors of a direction set has shape"),
        ({"scale": torch.ones(2, 3)}, "scale of a direction set has shape"),
        ({"offsets": (10,)}, "offset 10"),
        ({"categories": ("red", "red")}, "category 'red' stands more than once"),
        ({"sites": (Site(0), Site(1), Site(1))}, "stands more than once"),
        ({"count": ((3, 3),)}, "counts of prompts"),
        ({"sites": ("resid_pre[0]", "resid_pre[1]", "resid_pre[2]")}, "write "),
    ],
)
def test_a_direction_set_is_checked_when_made(wrong, message, monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    assert a_set().at("blue", 2).scale == 1
    with pytest.raises(InputError, match=message):
        a_set(**wrong)


def test_a_direction_set_may_hold_undefined_directions():
    units = torch.nn.functional.normalize(torch.randn(2, 1, 3, WIDTH), dim=-1)
    units[0, 0, 0] = torch.nan
    with pytest.raises(InputError, match="is undefined"):
        a_set(vectors=units).at("red", 0)
