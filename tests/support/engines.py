"""The engines with the fakes of what they run on, for tests that hold of any engine."""

from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from refusal_lens.engines import EngineModel, load_nnsight, load_vllm
from refusal_lens.model import Decoding
from support import fake_nnsight, fake_vllm

PROMPTS = ["Why?", "How does a very long question about tides end?", "Name two", "Go on, then"]
SHORT = Decoding(max_new_tokens=10)


@dataclass(frozen=True)
class Tested:
    """A loader, the fake engine behind it, and what a test must know of either."""

    load: Callable[..., EngineModel]
    fake: Any
    faults: Any
    modules: Callable[[], dict[str, ModuleType]]
    missing: str
    extra: str
    aborted: str
    of: Callable[[EngineModel], Any]


ENGINES = {
    "vllm-lens": Tested(
        load_vllm,
        fake_vllm.LLM,
        fake_vllm.Faults,
        fake_vllm.modules,
        missing="vllm_lens",
        extra=r"vllm-lens .*pip install 'refusal-lens\[vllm\]'",
        aborted="the engine ended the request with 'abort'",
        of=lambda model: model.engine.llm,  # pyright: ignore
    ),
    "nnsight": Tested(
        load_nnsight,
        fake_nnsight.VLLM,
        fake_nnsight.Faults,
        fake_nnsight.modules,
        missing="nnsight",
        extra=r"nnsight .*pip install 'refusal-lens\[nnsight\]'",
        aborted="the engine gave nothing back for it",
        of=lambda model: model.engine.model,  # pyright: ignore
    ),
}
