"""Vectors in and out in neighbours' formats: the site of each, and round trips."""

import json
from dataclasses import replace
from pathlib import Path

import gguf
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

from refusal_lens.cli.main import app
from refusal_lens.directions import Direction, DirectionSet
from refusal_lens.directions.formats import FORMATS, export_directions, import_directions
from refusal_lens.directions.formats.saelens import sae_directions
from refusal_lens.errors import InputError
from refusal_lens.interventions import Add
from refusal_lens.model import load_model
from refusal_lens.records import Provenance
from refusal_lens.sites import Site
from refusal_lens.study import Results, Study

WIDTH, LAYERS = 32, 4


@pytest.fixture
def fitted() -> DirectionSet:
    """Two categories at every block input; undefined at layer 0, as on template tokens."""
    raw = torch.randn(2, 1, LAYERS, WIDTH, generator=torch.Generator().manual_seed(0))
    raw[:, :, 0] = torch.nan
    scale = raw.norm(dim=-1)
    return DirectionSet(
        method="difference of means",
        categories=("advice", "safety"),
        offsets=(-1,),
        sites=tuple(Site(k) for k in range(LAYERS)),
        vectors=raw / scale[..., None],
        scale=scale.nan_to_num(),
        low=torch.zeros(2, 1, LAYERS),
        high=torch.ones(2, 1, LAYERS),
        count=((3, 3), (3, 3)),
        provenance=Provenance("tiny", "d", "t", "", "p", "float32", "cpu"),
    )


def raw(d: Direction) -> torch.Tensor:
    return d.scale * d.vector


@pytest.mark.parametrize("name", ["afile/v.gguf", "folder.gguf"])
def test_a_place_where_no_file_can_be(name: str, fitted: DirectionSet, tmp_path: Path) -> None:
    (tmp_path / "afile").write_text("text")
    (tmp_path / "folder.gguf").mkdir()
    with pytest.raises(InputError, match="can't be made|is a folder"):
        export_directions(fitted, tmp_path / name, "safety")


@pytest.mark.parametrize("name", [f.name for f in FORMATS.values() if f.write])
def test_round_trip_names_the_same_vector_of_the_stream(
    name: str, fitted: DirectionSet, tmp_path: Path
) -> None:
    path = tmp_path / f"v{FORMATS[name].suffix}"
    export_directions(fitted, path, "safety")
    directions = import_directions(path, category="safety")
    first = 2 if name == "gguf" else 1  # block 0's output has no place in a control vector
    assert [s.vector_of_stream for s in directions.sites] == [
        (layer, "resid_pre") for layer in range(first, LAYERS)
    ]
    for site in directions.sites:
        block_input = fitted.at("safety", site.vector_of_stream[0])
        assert torch.allclose(raw(directions.at_site("safety", site)), raw(block_input), atol=1e-6)
    assert directions.provenance.model == "tiny"
    with pytest.raises(InputError, match="'safety'"):
        directions.at_site("advice", directions.sites[0])


@pytest.mark.parametrize("name", [f.name for f in FORMATS.values() if f.write])
def test_an_exported_vector_holds_no_folder_of_this_machine(
    name: str, fitted: DirectionSet, tmp_path: Path
) -> None:
    model = str(tmp_path / "models" / "mine")
    path = tmp_path / f"v{FORMATS[name].suffix}"
    ours = replace(fitted, provenance=replace(fitted.provenance, model=model))
    export_directions(ours, path, "safety")
    assert str(tmp_path).encode() not in path.read_bytes()
    assert import_directions(path, category="safety").provenance.model == "mine"


def test_repengs_control_vector(tmp_path: Path) -> None:
    """Written as its `export_gguf` does: all but layer 0, a unit vector each."""
    vectors = {k: np.eye(8, dtype=np.float32)[k] for k in (1, 2, 3)}
    writer = gguf.GGUFWriter(tmp_path / "calm.gguf", "controlvector")
    writer.add_string("controlvector.model_hint", "llama")
    writer.add_uint32("controlvector.layer_count", 3)
    for layer, vector in vectors.items():
        writer.add_tensor(f"direction.{layer}", vector)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    directions = import_directions(tmp_path / "calm.gguf")
    assert (directions.categories, directions.provenance.model) == (("calm",), "llama")
    for layer, vector in vectors.items():
        d = directions.at_site("calm", Site(layer, "resid_post"))
        assert d.vector.tolist() == vector.tolist()


def test_what_llama_cpp_reads(fitted: DirectionSet, tmp_path: Path) -> None:
    export_directions(fitted, tmp_path / "v.gguf", "advice")
    reader = gguf.GGUFReader(tmp_path / "v.gguf")
    field = reader.get_field("general.architecture")
    assert field is not None and field.contents() == "controlvector"
    assert [t.name for t in reader.tensors] == ["direction.1", "direction.2"]
    for t in reader.tensors:
        assert t.data.dtype == np.float32 and t.data.shape == (WIDTH,)


def test_an_exported_vector_acts_where_the_format_says(
    tiny_folders: dict[str, Path], fitted: DirectionSet, tmp_path: Path
) -> None:
    """Adding at resid_post[k] is adding at the output of Hugging Face's block k."""
    model = load_model(str(tiny_folders["llama"]))
    export_directions(fitted, tmp_path / "v.safetensors", "advice")
    vector = load_file(tmp_path / "v.safetensors")["1"]
    d = import_directions(tmp_path / "v.safetensors").at_site("v", Site(1, "resid_post"))
    plain = model.residuals(["Hi"], sites=[Site(1, "resid_post")]).tensor[0, 0, 0]
    with model.editing(Add(d, 1.0)):
        edited = model.residuals(["Hi"], sites=[Site(2)]).tensor[0, 0, 0]
    assert torch.allclose(edited, plain + vector, atol=1e-5)


def test_arditis_artefacts(tmp_path: Path) -> None:
    run = tmp_path / "gemma-2b-it"
    (run / "generate_directions").mkdir(parents=True)
    means = torch.randn(5, LAYERS, WIDTH, dtype=torch.float64)
    torch.save(means, run / "generate_directions" / "mean_diffs.pt")
    torch.save(means[3, 2], run / "direction.pt")
    (run / "direction_metadata.json").write_text('{"pos": -2, "layer": 2}')
    every = import_directions(run / "generate_directions" / "mean_diffs.pt", category="refusal")
    assert every.offsets == (-5, -4, -3, -2, -1) and len(every.sites) == LAYERS
    one = import_directions(run / "direction.pt", category="refusal")
    assert (one.offsets, one.sites) == ((-2,), (Site(2),))
    a, b = every.at("refusal", 2, -2), one.at("refusal", 2, -2)
    assert torch.equal(a.vector, b.vector) and a.scale == b.scale
    assert torch.allclose(raw(a).double(), means[3, 2], atol=1e-5)
    assert one.provenance.model == every.provenance.model == "gemma-2b-it"


def test_a_chosen_direction_needs_its_place(tmp_path: Path) -> None:
    torch.save(torch.ones(8), tmp_path / "direction.pt")
    with pytest.raises(InputError, match="direction_metadata.json"):
        import_directions(tmp_path / "direction.pt")


class Runs:
    def __reduce__(self) -> tuple[object, ...]:
        return (pytest.fail, ("code of a file was run",))


@pytest.mark.parametrize("content", [Runs(), {"a": torch.ones(2)}, torch.ones(2, 2), "text"])
def test_a_pt_file_of_something_else(content: object, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "x.pt")
    with pytest.raises(InputError, match=r"x\.pt"):
        import_directions(tmp_path / "x.pt")


def test_ibms_svec(tmp_path: Path) -> None:
    content = {
        "model_type": "llama",
        "directions": {"0": [3.0, 4.0], "7": [0.0, -2.0]},
        "explained_variances": {"0": 0.5, "7": 0.25},
    }
    (tmp_path / "refuse.svec").write_text(json.dumps(content))
    directions = import_directions(tmp_path / "refuse.svec")
    assert directions.sites == (Site(0, "resid_post"), Site(7, "resid_post"))
    assert raw(directions.at_site("refuse", Site(7, "resid_post"))).tolist() == [0.0, -2.0]
    assert directions.at_site("refuse", Site(0, "resid_post")).scale == 5.0


@pytest.mark.parametrize("place", ["top", "metadata"])
def test_sae_decoder_rows(place: str, tmp_path: Path) -> None:
    where = {"hook_name": "blocks.8.hook_resid_pre", "model_name": "gpt2-small"}
    config = where if place == "top" else {"metadata": where}
    (tmp_path / "cfg.json").write_text(json.dumps({"d_in": 4} | config))
    decoder = torch.randn(6, 4)
    save_file({"W_dec": decoder, "b_dec": torch.zeros(4)}, tmp_path / "sae_weights.safetensors")
    directions = sae_directions(tmp_path, [5, 0])
    assert directions.categories == ("feature 5", "feature 0")
    assert directions.provenance.model == "gpt2-small"
    assert torch.allclose(raw(directions.at("feature 5", 8)), decoder[5])
    with pytest.raises(InputError, match="feature 6"):
        sae_directions(tmp_path, [6])
    with pytest.raises(InputError, match="no SAE"):
        sae_directions(tmp_path / "nowhere", [1])


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("v.gguf", b"junk that is long enough to be read as a header"),
        ("v.safetensors", b"junk"),
        ("v.svec", b'{"directions": 3}'),
        ("v.svec", b'{"directions": {"1": null}, "model_type": "x"}'),
        ("v.svec", b'{"directions": {}, "model_type": "x"}'),
        ("v.pt", b"junk"),
        ("v.bin", b"junk"),
    ],
)
def test_damaged_files_are_one_line(name: str, content: bytes, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError) as caught:
        import_directions(tmp_path / name)
    assert "\n" not in str(caught.value)


def test_names_of_other_tensors(tmp_path: Path) -> None:
    save_file({"model.embed": torch.ones(2)}, tmp_path / "m.safetensors")
    with pytest.raises(InputError, match=r"model\.embed"):
        import_directions(tmp_path / "m.safetensors")
    with pytest.raises(InputError, match="does not exist"):
        import_directions(tmp_path / "no.gguf")


def test_the_commands(
    fitted: DirectionSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run's directions out and in again, by what the command line wrote."""
    results = Results.begin(tmp_path / "run", Study(labels="intended").plain())
    pooled = replace(fitted, categories=("advice", "pooled"))
    results.add("directions", "digest", {"directions": fitted, "pooled": pooled}, 1.0)
    monkeypatch.chdir(tmp_path)
    shell = CliRunner()
    for words in (
        ["export", "v.svec", "--category", "pooled", "--run", "run"],
        ["import", "v.svec", "back", "--category", "refusal"],
    ):
        completed = shell.invoke(app, words)
        assert completed.exit_code == 0, completed.output
    directions = DirectionSet.load("back")
    d = directions.at_site("refusal", Site(1, "resid_post"))
    assert torch.allclose(raw(d), raw(pooled.at("pooled", 2)), atol=1e-6)
    for name in ("back.json", "back.safetensors"):
        assert torch.equal(DirectionSet.load(name).vectors, directions.vectors)
