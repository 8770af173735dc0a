"""Fixtures: a tiny model on CUDA, or one line that says why there is none."""

import pytest
import torch
from support.tiny_models import TinyFolders

from refusal_lens.model import LensModel, load_model
from refusal_lens.placement import Placement


@pytest.fixture(scope="session")
def device() -> str:
    """The device of these tests."""
    if not torch.cuda.is_available():
        pytest.skip("PyTorch finds no CUDA device here")
    return "cuda"


@pytest.fixture(scope="session")
def on_device(device: str, tiny_folders: TinyFolders) -> LensModel:
    """The tiny Llama there; `tiny_llama` is the same one on the CPU."""
    placement = Placement(dtype="float32", device=device)
    return load_model(str(tiny_folders["llama"]), placement=placement)
