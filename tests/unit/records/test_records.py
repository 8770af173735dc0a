"""Records on disk: what is saved comes back, and what is damaged says so in one line."""

import json
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import ClassVar, final

import pytest
import torch
from jaxtyping import Float
from safetensors.torch import load_file
from torch import Tensor

from refusal_lens.directions import DirectionSet, fit_mean_difference
from refusal_lens.errors import InputError
from refusal_lens.files import write_atomic
from refusal_lens.geometry import Geometry
from refusal_lens.records import (
    Estimate,
    Provenance,
    Record,
    digest_of,
    load_record,
    save_record,
    write_json,
)
from refusal_lens.residuals import ResidualStats, StatsAccumulator
from refusal_lens.sites import Site

PROVENANCE = Provenance(
    model="tiny",
    model_digest="d" * 64,
    template_digest="t",
    rendered_prefix="<|im_start|>user\n",
    prompts_digest="p",
    dtype="float32",
    device="cpu",
    seed=None,
)


@final
@dataclass(frozen=True, eq=False)
class Rates(Record):
    """A record without a file of its own: nested estimates, a path, a tensor."""

    SCHEMA_VERSION: ClassVar[int] = 3

    by_category: dict[str, Estimate]
    table: tuple[tuple[Estimate, ...], ...]
    sites: tuple[Site, ...]
    folder: Path
    scores: Float[Tensor, " prompt"]
    note: str | None = None


def stats() -> ResidualStats:
    sums = StatsAccumulator(("red", "blue"), (Site(0), Site(1, "resid_post")), (-2, -1), 5)
    side = torch.tensor([0, 1, 0, 1])
    resid = torch.randn(4, 2, 2, 5, generator=torch.Generator().manual_seed(0))
    sums.update(resid, torch.tensor([0, 0, 1, 1]), side, torch.tensor([[0, 1], [2, 3]]))
    return sums.finish(PROVENANCE)


def directions() -> DirectionSet:
    return fit_mean_difference(stats())


def geometry() -> Geometry:
    matrix = torch.tensor([[[1.0, 0.5], [0.5, float("nan")]]])
    row = torch.tensor([[0.9, float("nan")]])
    pairs = tuple(f"red-{i}" for i in range(30)) + tuple(f"blue-{i}" for i in range(12))
    return Geometry(
        categories=("red", "blue"),
        sites=(Site(4),),
        offset=-1,
        n=(30, 12),
        pairs=pairs,
        frame="as they are",
        naive=matrix,
        corrected=matrix + 0.1,
        low=matrix - 0.1,
        high=matrix + 0.2,
        ceiling=matrix,
        reliability=row,
        reliability_low=row - 0.1,
        reliability_high=row + 0.1,
        length=row * 7,
        share=row / 3,
        influence=torch.linspace(-1, 1, 84).reshape(1, 42, 2),
        share_influence=torch.linspace(-1, 1, 42)[None],
        provenance=PROVENANCE,
    )


def rates() -> Rates:
    known = Estimate(0.1 + 0.2, 0.25, 0.35, 12, "Wilson", control=0.5)
    unknown = Estimate(None, None, None, 0, "none")
    return Rates(
        {"red": known, "blå": unknown},
        ((known,), (unknown, known)),
        (Site(2, "attn_out"),),
        Path("runs/a"),
        torch.tensor([1.5, float("nan"), float("inf")]),
    )


RECORDS = {"stats": stats, "directions": directions, "geometry": geometry, "rates": rates}


def assert_same(a: object, b: object) -> None:
    assert type(a) is type(b)
    if isinstance(a, Tensor):
        assert a.dtype == b.dtype
        assert torch.equal(a.isnan(), b.isnan())
        assert torch.equal(a.nan_to_num(), b.nan_to_num())
    elif is_dataclass(a):
        for f in fields(a):
            assert_same(getattr(a, f.name), getattr(b, f.name))
    else:
        assert a == b


@pytest.mark.parametrize("name", RECORDS)
def test_what_is_saved_comes_back(tmp_path, name):
    record = RECORDS[name]()
    save_record(record, tmp_path / "deep" / "run.v1")
    assert {p.name for p in (tmp_path / "deep").iterdir()} == {"run.v1.json", "run.v1.safetensors"}
    assert_same(load_record(type(record), tmp_path / "deep" / "run.v1"), record)


def test_records_save_and_load_themselves(tmp_path):
    for record in (stats(), directions(), geometry()):
        record.save(tmp_path / "x")
        assert_same(type(record).load(str(tmp_path / "x")), record)


def test_a_view_is_saved_without_the_rest_of_its_storage(tmp_path):
    whole = torch.arange(1_000_000.0)
    record = Rates({}, (), (), Path(), whole[:3])
    save_record(record, tmp_path / "x")
    assert (tmp_path / "x.safetensors").stat().st_size < 1000
    assert torch.equal(load_file(tmp_path / "x.safetensors")["scores"], whole[:3])


def edit_json(path: Path, **changes: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def other_schema(stem: Path) -> None:
    edit_json(stem.with_suffix(".json"), schema_version=99)


def other_record(stem: Path) -> None:
    edit_json(stem.with_suffix(".json"), record="Recipe")


def no_fields(stem: Path) -> None:
    edit_json(stem.with_suffix(".json"), fields={})


def odd_fields(stem: Path) -> None:
    edit_json(stem.with_suffix(".json"), fields=[1, 2])


def wrong_field(stem: Path) -> None:
    content = json.loads(stem.with_suffix(".json").read_text())["fields"]
    edit_json(stem.with_suffix(".json"), fields=content | {"offset": "last", "sites": "all"})


def no_tensors_named(stem: Path) -> None:
    edit_json(stem.with_suffix(".json"), tensors_sha256=None)


def damaged_tensors(stem: Path) -> None:
    content = bytearray(stem.with_suffix(".safetensors").read_bytes())
    content[-3] ^= 1
    stem.with_suffix(".safetensors").write_bytes(content)


def no_tensor_file(stem: Path) -> None:
    stem.with_suffix(".safetensors").unlink()


def no_json(stem: Path) -> None:
    stem.with_suffix(".json").unlink()


def truncated_json(stem: Path) -> None:
    text = stem.with_suffix(".json").read_text()
    stem.with_suffix(".json").write_text(text[: len(text) // 2])


def not_text(stem: Path) -> None:
    stem.with_suffix(".json").write_bytes(b"\xff\xfe\x00")


def not_a_record(stem: Path) -> None:
    stem.with_suffix(".json").write_text("[1, 2]")


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (other_schema, r"x\.json holds Geometry of schema version 99; expected Geometry of ver"),
        (other_record, r"x\.json holds Recipe of schema version 4; expected Geometry of version 4"),
        (no_fields, r"x\.json is not a whole Geometry: "),
        (odd_fields, r"x\.json is not a whole Geometry: "),
        (wrong_field, r"x\.json is not a whole Geometry: "),
        (no_tensors_named, r"x\.json is not a whole Geometry: "),
        (damaged_tensors, r"x\.safetensors does not match the digest in its \.json; make the rec"),
        (no_tensor_file, r"x\.safetensors is missing beside its \.json"),
        (no_json, r"x\.json does not exist; expected a saved record"),
        (truncated_json, r"x\.json is damaged \(.*line \d+ column \d+.*\); make it again"),
        (not_text, r"x\.json is damaged"),
        (not_a_record, r"x\.json does not hold a record; expected a JSON object"),
    ],
)
def test_damage_is_told_in_one_line(tmp_path, damage, words):
    save_record(geometry(), tmp_path / "x")
    damage(tmp_path / "x")
    with pytest.raises(InputError, match=words) as caught:
        load_record(Geometry, tmp_path / "x")
    assert "\n" not in str(caught.value)
    assert str(tmp_path) in str(caught.value)


def test_one_record_is_not_read_as_another(tmp_path):
    save_record(stats(), tmp_path / "x")
    with pytest.raises(InputError, match="holds ResidualStats .* expected DirectionSet"):
        load_record(DirectionSet, tmp_path / "x")


@pytest.mark.parametrize("step", ["os.fsync", "pathlib.Path.replace", "pathlib.Path.chmod"])
def test_a_write_that_fails_half_way_leaves_the_old_file(tmp_path, monkeypatch, step):
    path = tmp_path / "a.json"
    write_atomic(path, b"old")

    def fail(*args, **kwargs):
        raise OSError("disk full")

    with monkeypatch.context() as patch:
        patch.setattr(step, fail)
        with pytest.raises(OSError, match="disk full"):
            write_atomic(path, b"new and longer")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]
    write_atomic(path, b"new")
    assert path.read_bytes() == b"new"


def test_no_nan_reaches_json(tmp_path):
    write_json(tmp_path / "a.json", {"x": 1.0})
    for value in (float("nan"), float("inf")):
        with pytest.raises(ValueError, match="not JSON compliant"):
            write_json(tmp_path / "a.json", {"x": [value]})
    assert json.loads((tmp_path / "a.json").read_text()) == {"x": 1.0}


def test_a_record_that_can_not_be_saved_leaves_the_old_one_whole(tmp_path):
    save_record(rates(), tmp_path / "x")
    broken = Estimate(float("nan"), None, None, 1, "none")
    record = Rates({"red": broken}, (), (), Path(), torch.zeros(9))
    with pytest.raises(ValueError, match="not JSON compliant"):
        save_record(record, tmp_path / "x")
    assert_same(load_record(Rates, tmp_path / "x"), rates())


def test_json_holds_no_nan_where_tensors_do(tmp_path):
    for make in RECORDS.values():
        save_record(make(), tmp_path / "x")

        def refuse(word: str) -> None:
            raise AssertionError(word)

        json.loads((tmp_path / "x.json").read_text(), parse_constant=refuse)


def test_a_digest_depends_on_content_and_not_on_order():
    assert digest_of({"a": 1, "b": [2]}) == digest_of({"b": [2], "a": 1})
    assert digest_of({"a": 1}) != digest_of({"a": 2})
    assert digest_of([1, 2]) != digest_of([2, 1])


def test_an_estimate_says_what_it_lacks():
    assert str(Estimate(0.5, 0.25, 0.75, 8, "Wilson")) == "0.500 [0.250, 0.750] (n=8)"
    assert str(Estimate(0.5, None, None, 8, "count")) == "0.500 (n=8)"
    assert str(Estimate(None, None, None, 0, "none")) == "undefined (n=0)"
    missing = Estimate(0.5, 0.25, 0.75, 8, "Wilson", missing=2)
    assert str(missing) == "0.500 [0.250, 0.750] (n=8, 2 left out)"


def test_provenance_names_the_versions():
    assert {"python", "torch", "transformer_lens", "transformers"} <= PROVENANCE.versions.keys()
    assert {"tokenizers", "scipy", "scikit-learn", "minisom"} <= PROVENANCE.versions.keys()
    assert "not installed" not in PROVENANCE.versions.values()
    assert PROVENANCE.versions["torch"] == torch.__version__
