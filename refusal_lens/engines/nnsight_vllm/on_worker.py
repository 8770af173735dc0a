"""What nnsight runs inside of vLLM's workers for one request, at every forward pass.

nnsight sends the body of a `with tracer.invoke(...)` to the workers and resumes it whenever the
model comes to a value that it waits for, so that values must be asked for in the model's order.
With tensor parallelism every rank runs it, on whole values. `follow` is sent by reference:
refusal_lens must be installed wherever a worker runs.

vLLM's blocks mostly return two summands, what the MLP wrote and the stream before it, which the
next block's norm adds up. The stream behind the block is their sum.
"""

from dataclasses import dataclass
from typing import Any, Final, final

import torch
from jaxtyping import Float
from torch import Tensor

from refusal_lens.engines.acting import acted
from refusal_lens.engines.interface import Request
from refusal_lens.engines.places import EMBEDDING

ROW: Final = "row"
ROWS: Final = "rows"
TOKENS: Final = "tokens"
STREAMS: Final = "streams"
LOGITS: Final = "logits"


@final
@dataclass(frozen=True, eq=False)
class TracedRow:
    """One request: its place in the trace, the length of its prompt, where the blocks are."""

    row: int
    n_prompt: int
    blocks: str
    request: Request

    @property
    def places(self) -> tuple[int, ...]:
        """Every place that is read or written, in the order in which a pass comes to them."""
        written = {place for act in self.request.acts for place in act.places}
        return tuple(sorted(written | {*self.request.reads}))


def begun(task: TracedRow) -> dict[str, Any]:
    """An empty report of a request."""
    return {ROW: task.row, ROWS: [], TOKENS: [], STREAMS: {}, LOGITS: None}


def follow(model: Any, task: TracedRow, report: dict[str, Any]) -> bool:
    """Edit and read the tokens of one forward pass; whether the answer goes on.

    The report gets the number of these tokens, what was asked of the prompt, and the new token.
    """
    first_pass = not report[TOKENS]
    first = -task.n_prompt if first_pass else len(report[TOKENS]) - 1
    for place in task.places:
        stream = _edited(model, task, place, first)
        if place == task.places[0]:
            report[ROWS].append(len(stream))
        if first_pass and place in task.request.reads:
            offsets = list(task.request.offsets)
            report[STREAMS][place] = stream[offsets].detach().cpu()
    if first_pass and task.request.logits:
        report[LOGITS] = model.logits.reshape(-1).detach().float().cpu().clone()
    token = int(model.samples.reshape(-1)[0])
    report[TOKENS].append(token)
    return len(report[TOKENS]) < task.request.most and token not in task.request.stops


def _edited(model: Any, task: TracedRow, place: int, first: int) -> Float[Tensor, "pos d_model"]:
    """The stream at a place, after the edits there: what the model goes on with."""
    block: Any = model.get(f"{task.blocks}.{max(place, 0)}")
    parts = [act.part for act in task.request.acts if place in act.places]
    show, write = (_input, _write_input) if place == EMBEDDING else (_output, _write_output)
    stream = show(block)
    if not parts:
        return stream
    for part in parts:
        stream = acted(part, stream, first)
    write(block, stream)
    return show(block)  # asked for again: what has been written is served


def _output(block: Any) -> Float[Tensor, "pos d_model"]:
    return sum_of(block.output)


def sum_of(output: Any) -> Float[Tensor, "pos d_model"]:
    """The stream from what a block returns: a tensor, or two summands.

    >>> import torch
    >>> sum_of((torch.ones(2, 3), torch.ones(2, 3))).tolist()
    [[2.0, 2.0, 2.0], [2.0, 2.0, 2.0]]

    Raises:
        TypeError: it returns something else.
    """
    if isinstance(output, Tensor):
        return _flat(output)
    match output:
        case (Tensor() as only,):
            return _flat(only)
        case (Tensor() as written, Tensor() as before):
            return _flat(written) + _flat(before)
        case _:
            kinds = ", ".join(type(x).__name__ for x in output)
            raise TypeError(f"a block returns ({kinds}), which is no stream or two summands of one")


def _write_output(block: Any, stream: Float[Tensor, "pos d_model"]) -> None:
    """Put a stream in place of a block's output; of two summands the first becomes zero."""
    output = block.output
    if isinstance(output, Tensor):
        block.output = stream.reshape(output.shape)
    elif len(output) == 1:
        block.output = (stream.reshape(output[0].shape),)
    else:
        block.output = (torch.zeros_like(output[0]), stream.reshape(output[1].shape))


def _input(block: Any) -> Float[Tensor, "pos d_model"]:
    arguments, named = block.inputs
    return _flat(next(filter(_is_stream, [*arguments, *named.values()])))


def _write_input(block: Any, stream: Float[Tensor, "pos d_model"]) -> None:
    arguments, named = block.inputs
    before = next(filter(_is_stream, [*arguments, *named.values()]))

    def put(argument: Any) -> Any:
        return stream.reshape(before.shape) if argument is before else argument

    block.inputs = (tuple(map(put, arguments)), {key: put(x) for key, x in named.items()})


def _is_stream(argument: Any) -> bool:
    """Whether an argument of block 0 is the embeddings; positions are whole numbers."""
    return isinstance(argument, Tensor) and argument.is_floating_point()


def _flat(tensor: Tensor) -> Float[Tensor, "pos d_model"]:
    """Without the batch axis of one that vLLM's Transformers backend has."""
    return tensor.reshape(-1, tensor.shape[-1])
