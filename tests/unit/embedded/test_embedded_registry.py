"""The registry of embedded models: keys, earlier names, what a study makes of them."""

from dataclasses import replace

import pytest

from refusal_lens.embedded.adapter import load_embedded_model, scale_nearest_half
from refusal_lens.embedded.registry import (
    EMBEDDED_MODELS,
    NATIVE,
    PLANTED,
    SMALL,
    STUDIED,
    find_embedded,
)
from refusal_lens.errors import InputError
from refusal_lens.model import load_model
from refusal_lens.resources import data_path
from refusal_lens.study import Sizes, Study


def test_every_model_is_found_by_its_key_and_by_earlier_names():
    names = [name for m in EMBEDDED_MODELS for name in (m.key, *m.aliases)]
    assert len(set(names)) == len(names)
    assert all(find_embedded(name) in EMBEDDED_MODELS for name in names)
    assert find_embedded("embedded") is PLANTED
    assert find_embedded("Qwen/Qwen2.5-Coder-0.5B-Instruct") is None
    assert find_embedded(STUDIED) is NATIVE and find_embedded(SMALL) is PLANTED


@pytest.mark.parametrize("entry", EMBEDDED_MODELS, ids=lambda m: m.key)
def test_a_record_is_whole(entry):
    assert len(entry.weights.gguf.sha256) == len(entry.weights.tensors_sha256) == 64
    assert entry.weights.tensors_bytes > entry.weights.gguf.n_bytes > 10**7
    assert entry.licence and entry.purpose and entry.title
    assert isinstance(Sizes.fitting(entry.key), Sizes)
    if entry.planting is not None:
        assert data_path(entry.planting.adapter, "adapter_model.safetensors").is_file()
        assert data_path(entry.planting.controls, entry.planting.deranged).is_dir()


def test_a_run_of_an_earlier_name_is_the_same_question():
    old = Study(source="embedded").plain()
    assert old["source"] == PLANTED.key and Study.of(old | {"source": "embedded"}).planted
    assert (
        Study.of({"source": "embedded", "seed": 3}).plain()
        == replace(Study(source=PLANTED.key), seed=3).plain()
    )
    assert Study(source="embedded").default_folder() == "runs/smollm2-planted-scale1-seed0"
    assert Study().default_folder() == "runs/qwen-coder-0.5b-seed0"
    assert Study(sizes=Sizes.quick()).default_folder().endswith("-quick")


def test_labels_are_intended_only_where_refusals_are_planted_and_on():
    assert Study().fitted_on == "behaviour" and not Study().planted
    assert Study(source=PLANTED.key).fitted_on == "intended"
    assert Study(source=PLANTED.key, adapter_scale=0.0).fitted_on == "behaviour"
    assert Study(source="some/model").fitted_on == "behaviour"
    assert Study(labels="intended").fitted_on == "intended"


def test_a_model_that_refuses_by_itself_has_no_adapter(tmp_path):
    for options in ({"adapter_scale": 0.5}, {"adapter": tmp_path}):
        with pytest.raises(InputError, match="refuses by itself"):
            load_embedded_model(NATIVE, **options)
    with pytest.raises(InputError, match="planted refusals"):
        load_model("some/model", adapter_scale=0.5)
    assert scale_nearest_half(NATIVE) == 1.0 and scale_nearest_half(PLANTED) > 0
