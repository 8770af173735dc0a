"""Opening a model on vLLM as nnsight traces it."""

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from refusal_lens.engines.engine_model import EngineModel
from refusal_lens.engines.nnsight_vllm.engine import NnsightEngine, find_blocks, import_nnsight
from refusal_lens.engines.opening import Chat, check_choices, find_checkpoint, open_model
from refusal_lens.errors import InputError
from refusal_lens.placement import AUTO

_FIXED: Final = {
    # Its key is the tokens alone: what an edited request leaves there, the next would read.
    "enable_prefix_caching": False,
    "enable_chunked_prefill": False,  # nnsight must see a prompt in one pass
    "trust_remote_code": False,
}
_SET_HERE: Final = {
    "dtype",
    "tensor_parallel_size",
    "dispatch",
    "mode",
    "taps",
    "enforce_eager",
    *_FIXED,
}


def load_nnsight(  # noqa: PLR0913 - each is a choice that a user types
    source: str | Path,
    *,
    revision: str | None = None,
    tensor_parallel: int = 1,
    dtype: str = AUTO,
    system: str | None = None,
    thinking: bool | None = None,
    now: datetime | None = None,
    batch_size: int = 64,
    blocks: str | None = None,
    options: Mapping[str, Any] | None = None,
) -> EngineModel:
    """A chat model on vLLM through nnsight, its layers split over the cards of a machine.

    `source` is a hub id (with `revision`) or a folder with a Hugging Face model in safetensors.
    `tensor_parallel` is the number of cards that share each layer. `batch_size` is the number of
    prompts that are read in one trace. `blocks` is the path of the model's blocks in vLLM, where
    it is not one of the usual. `options` go to `vllm.LLM` as they are, for example
    {"max_model_len": 4096}.

    Raises:
        InputError: nnsight is not installed, nothing there, an option that is set here, or
            pipeline parallelism, which nnsight does not have.
        EngineError: the engine does not act on this model as nnsight documents it.

    >>> rl.engines.load_nnsight(model.name, options={"pipeline_parallel_size": 2})
    Traceback (most recent call last):
    refusal_lens.errors.InputError: nnsight has no pipeline parallelism; use load_vllm(...,
        pipeline_parallel=2)
    """
    given = options or {}
    if (n := given.get("pipeline_parallel_size", 1)) != 1:
        raise InputError(
            f"nnsight has no pipeline parallelism; use load_vllm(..., pipeline_parallel={n})"
        )
    sizes = {"tensor_parallel": tensor_parallel, "batch_size": batch_size}
    check_choices(sizes, dtype, given, _SET_HERE)
    interface = import_nnsight()
    checkpoint = find_checkpoint(source, revision)
    model = interface.model(
        str(checkpoint.folder),
        dispatch=True,
        tensor_parallel_size=tensor_parallel,
        **{**given, "dtype": dtype, **_FIXED},
    )
    spread = f"vLLM by nnsight, {tensor_parallel} devices (tensor parallel)"
    opened = checkpoint.opened(model.vllm_entrypoint, interface.versions, spread)
    engine = NnsightEngine(interface, model, opened, find_blocks(model, opened.n_layers, blocks))
    return open_model(engine, checkpoint, Chat(system, thinking, now), batch_size)
