"""The shipped configurations of embedded models are those of their weights."""

import json
from pathlib import Path

import pytest

from refusal_lens.embedded.configuration import config_folder
from refusal_lens.embedded.disk import cache_root
from refusal_lens.embedded.folder import embedded_folder
from refusal_lens.embedded.model import EmbeddedModel
from refusal_lens.embedded.registry import EMBEDDED_MODELS, PLANTED
from refusal_lens.study.planning.configured import find_configured
from refusal_lens.study.planning.size import model_size


@pytest.mark.parametrize("entry", EMBEDDED_MODELS, ids=lambda m: m.key)
def test_the_shipped_configuration_is_that_of_the_weights(entry: EmbeddedModel, tmp_path: Path):
    made, shipped = embedded_folder(entry.weights), config_folder(entry, tmp_path)
    assert config_folder(entry) == made != shipped
    ours, theirs = (json.loads((f / "config.json").read_text()) for f in (shipped, made))
    assert ours == theirs


def test_a_gguf_files_metadata_are_enough_for_a_plan():
    weights = PLANTED.weights
    path = weights.source.present(weights.gguf, cache_root())
    assert path is not None
    configured = find_configured(str(path))
    assert configured.tokenizer is not None
    assert model_size(configured.config) == model_size(find_configured(PLANTED.key).config)
