"""The sparse autoencoders that come with the project, one per embedded model at most."""

from pathlib import Path
from typing import Final

from refusal_lens.errors import InputError
from refusal_lens.resources import data_path
from refusal_lens.sparse.autoencoder import SparseAutoencoder
from refusal_lens.sparse.saelens import CONFIG, load_sae

FOLDER: Final = "saes"


def shipped_sae(model: str) -> SparseAutoencoder:
    """The autoencoder that was trained on a model's residuals and comes with the project.

    >>> shipped_sae("qwen-coder-0.5b").d_model
    896

    Raises:
        InputError: none comes for this model.
    """
    return load_sae(shipped_folder(model))


def shipped_folder(model: str) -> Path:
    """The folder of `shipped_sae`, in SAELens' format; raises like it.

    >>> shipped_folder("qwen-coder-0.5b").name
    'qwen-coder-0.5b'
    """
    try:
        return data_path(FOLDER, model, CONFIG).parent
    except InputError:
        raise InputError(
            f"no sparse autoencoder comes for {model!r}; give a folder in SAELens' format by "
            f"--sae, or train one: `refusal-lens train-sae --model {model} --layer N --out my-sae`"
        ) from None
