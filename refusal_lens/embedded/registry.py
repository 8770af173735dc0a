"""The embedded models: what can be studied without a hub and without a GPU.

A further one is a file with its record, and one entry here. Nothing else in the package knows a
model by its name.
"""

from typing import Final

from refusal_lens.embedded import qwen_coder, smollm2
from refusal_lens.embedded.model import EmbeddedModel

NATIVE: Final = qwen_coder.MODEL
PLANTED: Final = smollm2.MODEL
EMBEDDED_MODELS: Final[tuple[EmbeddedModel, ...]] = (NATIVE, PLANTED)
STUDIED: Final = NATIVE.key  # what `refusal-lens study` studies where no model is named
SMALL: Final = PLANTED.key  # what `load_model()` loads: a first lesson takes minutes


def find_embedded(source: str) -> EmbeddedModel | None:
    """The embedded model of a key or an earlier name; None for any other source."""
    return next((m for m in EMBEDDED_MODELS if source == m.key or source in m.aliases), None)
