"""What made a number: the model, its template, its place and its edits."""

from typing import TYPE_CHECKING

from refusal_lens.placement import dtype_name
from refusal_lens.prompts import PromptSet
from refusal_lens.records import Provenance

if TYPE_CHECKING:
    from refusal_lens.model.lens import LensModel


def provenance(
    model: "LensModel", prompts: PromptSet | None = None, seed: int | None = None
) -> Provenance:
    """What is needed to make a number of this model again, edits included.

    >>> model.provenance(prompts).edits
    'none'
    """
    digest, chat = "none" if prompts is None else prompts.digest, model.chat
    made = (model.name, model.digest, chat.digest, chat.prefix_text, digest)
    dtype, device = dtype_name(model.backend.dtype), str(model.backend.device)
    return Provenance(*made, dtype, device, seed, model.edits_text)
