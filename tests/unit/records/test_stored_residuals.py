"""`Residuals`: selections keep prompts and rows together, and a folder gives back what it took."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from support.paired_residuals import PROVENANCE, prompts_of

from refusal_lens.errors import InputError
from refusal_lens.prompts import PromptSet
from refusal_lens.residuals import Residuals
from refusal_lens.sites import Site

SITES, OFFSETS = (Site(0), Site(1), Site(2)), (-2, -1)


def some(prompts=None) -> Residuals:
    prompts = prompts_of(3) if prompts is None else prompts
    shape = (len(prompts), len(OFFSETS), len(SITES), 6)
    resid = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    return Residuals.of(resid, prompts, sites=SITES, offsets=OFFSETS, provenance=PROVENANCE)


def test_a_slice_is_that_of_its_site_and_offset():
    residuals = some()
    assert torch.equal(residuals.at(Site(2), -2), residuals.tensor[:, 0, 2])
    assert torch.equal(residuals.at(Site(0)), residuals.tensor[:, 1, 0])
    assert len(residuals) == 12
    assert repr(residuals) == (
        "Residuals(12 prompts, 2 categories x 2 offsets x 3 sites x d_model 6; "
        "resid_pre[0] to resid_pre[2], offsets [-2, -1], tiny)"
    )
    part = residuals.select(sites=[Site(2), Site(0)], offsets=[-1])
    assert part.sites == (Site(2), Site(0)) and part.offsets == (-1,)
    assert torch.equal(part.at(Site(0)), residuals.at(Site(0)))
    for site, offset, named in ((Site(7), -1, "site resid_pre.7."), (Site(0), -3, "offset -3")):
        with pytest.raises(InputError, match=f"{named} is not in these residuals"):
            residuals.at(site, offset)
        with pytest.raises(InputError, match=f"{named} is not in these residuals"):
            residuals.select(sites=[site], offsets=[offset])


def test_a_selection_keeps_prompts_and_rows_together():
    residuals = some()
    row = {key: i for i, key in enumerate(residuals.ids)}
    for part in (
        residuals.only(category="blue"),
        residuals.only(label="comply"),
        residuals.only(ids={"red1refuse", "blue0comply"}),
        residuals.only(category="red", label="refuse", ids={"red1refuse", "blue0comply"}),
        residuals.only(prompts=PromptSet(residuals.labelled.prompts[::-1])),
    ):
        assert 0 < len(part) <= 12
        assert part.labelled.ids == part.ids
        assert part.provenance.prompts_digest == part.labelled.digest
        assert torch.equal(part.tensor, residuals.tensor[[row[key] for key in part.ids]])
    assert (
        residuals.only(prompts=PromptSet(residuals.labelled.prompts[::-1])).ids[0] == "blue2comply"
    )
    with pytest.raises(InputError, match="prompt 'mauve' is not among the 12"):
        residuals.only(ids=["mauve"])
    with pytest.raises(InputError, match="prompt 'green0refuse' is not among the 12"):
        residuals.only(prompts=prompts_of(1, ("green",)))


def test_relabelled_prompts_relabel_the_residuals():
    residuals = some()
    turned = PromptSet(
        tuple(
            replace(p, label="comply" if p.label == "refuse" else "refuse")
            for p in residuals.labelled
        )
    )
    a, b = residuals.stats(), residuals.only(prompts=turned).stats()
    assert torch.equal(a.difference, -b.difference) and bool(a.difference.any())


def test_pooled_residuals_have_the_sums_of_pooled_statistics():
    """Also where two categories call their pairs by one name."""
    prompts = PromptSet(tuple(replace(p, pair=(p.pair or "")[-1]) for p in prompts_of(3)))
    residuals = some(prompts)
    a, b = residuals.pooled().stats(), residuals.stats().pooled()
    assert a.categories == b.categories == ("pooled",)
    assert torch.equal(a.count, b.count) and torch.equal(a.n_pairs, b.n_pairs)
    assert a.n_pairs.tolist() == [6]
    assert torch.allclose(a.total, b.total) and torch.allclose(a.pair_sq, b.pair_sq)


def test_parts_are_joined_in_their_order():
    residuals = some()
    parts = [residuals.only(category=c) for c in ("blue", "red")]
    whole = Residuals.join(parts)
    assert whole.ids == parts[0].ids + parts[1].ids
    assert torch.equal(whole.tensor, torch.cat([p.tensor for p in parts]))
    assert whole.provenance.prompts_digest == whole.labelled.digest
    with pytest.raises(InputError, match="different sites can't be joined"):
        Residuals.join([parts[0], parts[1].select(sites=SITES[:1])])
    other = replace(parts[1], provenance=replace(PROVENANCE, model_digest="other"))
    with pytest.raises(InputError, match="two models"):
        Residuals.join([parts[0], other])
    # As shards of statistics are: under other edits, or in another precision, is another model.
    for name in ("dtype", "template_digest", "rendered_prefix", "edits"):
        part = replace(parts[1], provenance=replace(PROVENANCE, **{name: "other"}))
        with pytest.raises(InputError, match=f"differ in {name}"):
            Residuals.join([parts[0], part])
    with pytest.raises(InputError, match="stands more than once"):
        Residuals.join([parts[0], parts[0]])


def test_a_folder_gives_back_what_it_took(tmp_path):
    for name, residuals in (("labelled", some()), ("plain", some(("a?", "b?")))):
        residuals.save(tmp_path / name)
        again = Residuals.load(tmp_path / name)
        assert torch.equal(again.tensor, residuals.tensor)
        for field in ("ids", "sites", "offsets", "provenance", "prompts"):
            assert getattr(again, field) == getattr(residuals, field)
        again.save(tmp_path / name)  # over the file that it is mapped from
        assert torch.equal(again.tensor, residuals.tensor)
        assert torch.equal(Residuals.load(tmp_path / name).tensor, residuals.tensor)


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="Linux shows what is mapped")
def test_a_folder_is_memory_mapped(tmp_path):
    some().save(tmp_path / "kept")
    opened = Residuals.load(tmp_path / "kept")
    part = opened.at(Site(1), -1)
    assert str(tmp_path / "kept/residuals.safetensors") in Path("/proc/self/maps").read_text()
    assert part.is_contiguous()  # one stretch of the file
    assert part.untyped_storage().data_ptr() == opened.tensor.untyped_storage().data_ptr()


def test_a_wrong_or_damaged_folder_is_one_clear_line(tmp_path):
    some().save(tmp_path)
    file = tmp_path / "residuals.safetensors"
    file.write_bytes(file.read_bytes()[:40])
    with pytest.raises(InputError, match=r"residuals\.safetensors can't be read .*read the resid"):
        Residuals.load(tmp_path)
    file.unlink()
    with pytest.raises(InputError, match=r"residuals\.safetensors can't be read"):
        Residuals.load(tmp_path)
    (tmp_path / "residuals.json").unlink()
    with pytest.raises(InputError, match=r"residuals\.json does not exist"):
        Residuals.load(tmp_path)


def test_the_shape_is_that_of_the_axes():
    residuals = some()
    with pytest.raises(
        InputError, match=r"shape \[12, 2, 3, 6\]; expected 12 prompts x 2 off.* 1 s"
    ):
        replace(residuals, sites=SITES[:1])
    with pytest.raises(InputError, match="more than once"):
        replace(residuals, ids=("a",) * 12, prompts=None)
    with pytest.raises(InputError, match="not those of their prompts"):
        replace(residuals, ids=tuple(map(str, range(12))))


def test_plain_texts_are_named_by_their_place_and_have_no_labels():
    plain = some(("a?", "a?"))
    assert plain.ids == ("1", "2") and plain.provenance.prompts_digest == "none"
    assert plain.only(ids=["2"]).tensor.shape[0] == 1
    assert "unlabelled" in repr(plain)
    with pytest.raises(InputError, match="plain texts, without labels"):
        plain.stats()
    listed = some(prompts_of(2).prompts)  # a tuple of prompts, which know their labels
    assert listed.prompts == prompts_of(2)
