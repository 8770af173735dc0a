"""A GGUF file named by its path loads as the model that it holds."""

import torch

from refusal_lens.embedded.disk import cache_root
from refusal_lens.embedded.registry import PLANTED
from refusal_lens.model import LensModel, load_model
from refusal_lens.placement import Placement

PROMPTS = ["Why is the sky blue?", "Name three kinds of cheese."]


def test_a_file_by_its_path_is_the_model_it_holds() -> None:
    path = PLANTED.weights.source.get(PLANTED.weights.gguf, cache_root(), lambda *_: None)
    placement = Placement(device="cpu", packed=False)
    by_path: LensModel = load_model(str(path), placement=placement)
    by_key = load_model(PLANTED.key, adapter_scale=0.0, placement=placement)
    assert by_path.backend.dtype == torch.float32
    assert torch.allclose(by_path.logits(PROMPTS), by_key.logits(PROMPTS), atol=1e-4)
