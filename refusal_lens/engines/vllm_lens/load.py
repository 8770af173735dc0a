"""Opening a model on vLLM with vllm-lens."""

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from refusal_lens.engines.engine_model import EngineModel
from refusal_lens.engines.opening import Chat, check_choices, find_checkpoint, open_model
from refusal_lens.engines.vllm_lens.engine import VllmLensEngine, import_vllm_lens
from refusal_lens.placement import AUTO

_FIXED: Final = {
    # Its key is the tokens alone: what an edited request leaves there, the next would read.
    "enable_prefix_caching": False,
    "max_logprobs": -1,  # logits of all tokens
    "logprobs_mode": "raw_logits",
    "trust_remote_code": False,
}
_SET_HERE: Final = {"model", "dtype", "tensor_parallel_size", "pipeline_parallel_size", *_FIXED}


def load_vllm(  # noqa: PLR0913 - each is a choice that a user types
    source: str | Path,
    *,
    revision: str | None = None,
    tensor_parallel: int = 1,
    pipeline_parallel: int = 1,
    dtype: str = AUTO,
    system: str | None = None,
    thinking: bool | None = None,
    now: datetime | None = None,
    batch_size: int = 16,
    options: Mapping[str, Any] | None = None,
) -> EngineModel:
    """A chat model on vLLM with vllm-lens, spread over cards and machines.

    `source` is a hub id (with `revision`) or a folder with a Hugging Face model in safetensors.
    `tensor_parallel` is the number of cards that share each layer, `pipeline_parallel` that of the
    groups of layers. `batch_size` is the number of prompts whose streams are on their way back at
    one time: vLLM returns whole prompts. `options` go to `vllm.LLM` as they are, for example
    {"max_model_len": 4096, "distributed_executor_backend": "ray"}.

    Raises:
        InputError: vllm-lens is not installed, nothing there, or an option that is set here.
        EngineError: the engine does not act on this model as vllm-lens documents it.

    >>> rl.engines.load_vllm(model.name, tensor_parallel=0)
    Traceback (most recent call last):
    refusal_lens.errors.InputError: tensor_parallel is 0; give 1 or more
    """
    sizes = {"tensor_parallel": tensor_parallel, "pipeline_parallel": pipeline_parallel}
    check_choices(sizes | {"batch_size": batch_size}, dtype, options or {}, _SET_HERE)
    interface = import_vllm_lens()
    checkpoint = find_checkpoint(source, revision)
    llm = interface.llm(
        model=str(checkpoint.folder),
        tensor_parallel_size=tensor_parallel,
        pipeline_parallel_size=pipeline_parallel,
        **{**(options or {}), "dtype": dtype, **_FIXED},
    )
    spread = f"vLLM, {tensor_parallel} x {pipeline_parallel} devices (tensor x pipeline parallel)"
    opened = checkpoint.opened(llm, interface.versions, spread)
    engine = VllmLensEngine(interface, llm, opened, surplus=pipeline_parallel)
    return open_model(engine, checkpoint, Chat(system, thinking, now), batch_size)
