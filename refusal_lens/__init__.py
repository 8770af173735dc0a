"""Mechanistic interpretability of refusal in chat models, on TransformerLens."""

from importlib import import_module, metadata
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from refusal_lens.directions import Direction as Direction
    from refusal_lens.directions import DirectionSet as DirectionSet
    from refusal_lens.directions import fit_mean_difference as fit_mean_difference
    from refusal_lens.errors import InputError as InputError
    from refusal_lens.interventions import Ablate as Ablate
    from refusal_lens.interventions import AblateSubspace as AblateSubspace
    from refusal_lens.interventions import Add as Add
    from refusal_lens.interventions import Affine as Affine
    from refusal_lens.interventions import Clamp as Clamp
    from refusal_lens.interventions import Cosine as Cosine
    from refusal_lens.interventions import Leace as Leace
    from refusal_lens.interventions import Only as Only
    from refusal_lens.interventions import PerRow as PerRow
    from refusal_lens.interventions import Probe as Probe
    from refusal_lens.interventions import Rotate as Rotate
    from refusal_lens.interventions import When as When
    from refusal_lens.model import Decoding as Decoding
    from refusal_lens.model import LensModel as LensModel
    from refusal_lens.model import TransferWarning as TransferWarning
    from refusal_lens.model import allow_transfer as allow_transfer
    from refusal_lens.model import load_model as load_model
    from refusal_lens.model import wrap_model as wrap_model
    from refusal_lens.placement import Placement as Placement
    from refusal_lens.prompts import PromptSet as PromptSet
    from refusal_lens.prompts import load_prompts as load_prompts
    from refusal_lens.sites import Site as Site

__version__ = metadata.version("refusal_lens")

# Loaded when first asked for: TransformerLens alone takes seconds to import, and directions,
# geometry and plots run without it.
_HOMES: Final = {
    "directions": ("Direction", "DirectionSet", "fit_mean_difference"),
    "errors": ("InputError",),
    "interventions": (
        "Ablate",
        "AblateSubspace",
        "Add",
        "Affine",
        "Clamp",
        "Cosine",
        "Leace",
        "Only",
        "PerRow",
        "Probe",
        "Rotate",
        "When",
    ),
    "model": (
        "Decoding",
        "LensModel",
        "TransferWarning",
        "allow_transfer",
        "load_model",
        "wrap_model",
    ),
    "placement": ("Placement",),
    "prompts": ("PromptSet", "load_prompts"),
    "sites": ("Site",),
}
__all__ = sorted(name for names in _HOMES.values() for name in names)  # pyright: ignore


def __getattr__(name: str) -> Any:
    for home, names in _HOMES.items():
        if name in names:
            return getattr(import_module(f"refusal_lens.{home}"), name)
    raise AttributeError(f"module 'refusal_lens' has no attribute {name!r}")
