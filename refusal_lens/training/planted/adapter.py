"""The planted model in memory, as training and measuring its adapters need it."""

from pathlib import Path

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from refusal_lens.embedded.adapter import load_embedded_model
from refusal_lens.embedded.registry import PLANTED


def load_embedded(
    adapter_scale: float = 1.0, *, adapter: Path | None = None
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """The planted model at a scale; see `refusal_lens.embedded.adapter.load_embedded_model`."""
    return load_embedded_model(PLANTED, adapter_scale, adapter=adapter)
