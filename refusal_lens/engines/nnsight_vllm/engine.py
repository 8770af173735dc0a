"""vLLM as nnsight traces it, as an engine: the interface that is used, and nothing beyond it.

nnsight (NDIF, https://github.com/ndif-team/nnsight) builds the `vllm.LLM` itself and runs the body
of a `with` in its workers, beside the forward pass:

    model = VLLM(folder, dispatch=True, ...)      `...` goes to vllm.LLM; enforce_eager is set there
    with model.trace() as tracer:                 one call of the engine
        with tracer.invoke(ids, max_tokens=...):  one request; its keywords make a SamplingParams
            for _ in tracer.iter[:n]:             one pass: the whole prompt, then token by token
                block.inputs, block.output        read or assigned, cut to this request's tokens
                model.logits, model.samples       of this pass
            kept = nnsight.save(...)              comes back under its name: itself where one
                                                  request saved it, else a list in their order

Written from the source and the documentation of nnsight 0.8.1, whose authors ran it on vllm 0.27.1.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Final, final

from refusal_lens.engines.interface import Answer, Engine, Opened, Request, RequestFailed
from refusal_lens.engines.nnsight_vllm.on_worker import (
    LOGITS,
    ROW,
    ROWS,
    STREAMS,
    TOKENS,
    TracedRow,
    begun,
    follow,
)
from refusal_lens.errors import InputError, reason_of
from refusal_lens.model.batch import Ids

BLOCKS: Final = ("model.layers", "language_model.model.layers", "transformer.h")
"""Where vLLM's models mostly keep their blocks."""


@final
@dataclass(frozen=True)
class NnsightNames:
    """The two names of nnsight, and the versions. A field `save` nnsight would take for its own."""

    model: Any
    saved: Any
    versions: Mapping[str, str]


def import_nnsight() -> NnsightNames:
    """nnsight and vLLM, imported when they are first needed.

    Raises:
        InputError: one of them is not installed, or can't be imported.
    """
    try:
        nnsight, vllm = import_module("nnsight"), import_module("vllm")
        traced = import_module("nnsight.modeling.vllm")
        versions = {"nnsight": str(nnsight.__version__), "vllm": str(vllm.__version__)}
        return NnsightNames(traced.VLLM, nnsight.save, versions)
    except (ImportError, AttributeError) as error:
        raise InputError(
            f"this engine needs nnsight and vLLM ({reason_of(error)}); install them with "
            "pip install 'refusal-lens[nnsight]'"
        ) from None


def find_blocks(model: Any, n_layers: int, path: str | None) -> str:
    """Where the model keeps its blocks.

    Raises:
        InputError: not at `path`, or at no place that is known.
    """
    for place in BLOCKS if path is None else (path,):
        try:
            if len(model.get(place)) == n_layers:
                return place
        except (AttributeError, TypeError):
            continue
    looked = " or ".join(map(repr, BLOCKS if path is None else (path,)))
    raise InputError(
        f"the model's {n_layers} blocks are not at {looked}; print(VLLM(...)) of nnsight shows "
        "where they are: name it with blocks='model.layers'"
    )


@final
class NnsightEngine(Engine):
    """An `Engine`; `blocks` is where the model keeps them."""

    def __init__(self, interface: NnsightNames, model: Any, opened: Opened, blocks: str) -> None:
        super().__init__(opened)
        self.model = model
        self._interface, self._blocks = interface, blocks

    def run(
        self, prompts: Sequence[Ids], requests: Sequence[Request]
    ) -> Sequence[Answer | RequestFailed]:
        """An answer for each prompt, or why there is none."""
        pairs = zip(prompts, requests, strict=True)
        tasks = [
            TracedRow(n, len(ids), self._blocks, asked) for n, (ids, asked) in enumerate(pairs)
        ]
        try:
            reports = {report[ROW]: report for report in self._reports(prompts, tasks)}
        except RuntimeError as error:  # behind the first line are frames of nnsight's own
            raise RuntimeError(str(error).partition("\n")[0]) from error
        return [_answer(reports.get(task.row), task) for task in tasks]

    def _reports(
        self, prompts: Sequence[Ids], tasks: Sequence[TracedRow]
    ) -> Iterable[dict[str, Any]]:
        """What the workers report of each request. nnsight sends every name in the inner block."""
        model, save, report = self.model, self._interface.saved, None
        with model.trace() as tracer:
            for ids, task in zip(prompts, tasks, strict=True):
                with tracer.invoke(list(ids), **task.request.sampling()):
                    report = save(begun(task))
                    for _ in tracer.iter[: task.request.most]:
                        if not follow(model, task, report):
                            break
        reports: Any = report
        return [reports] if isinstance(reports, dict) else reports or ()


def _answer(report: Mapping[str, Any] | None, task: TracedRow) -> Answer | RequestFailed:
    """An answer from what the workers report; refused where the passes were not as expected."""
    if report is None:
        return RequestFailed("the engine gave nothing back for it")
    rows, tokens, most = report[ROWS], tuple(report[TOKENS]), task.request.most
    if rows and rows[0] != task.n_prompt:
        return RequestFailed(
            f"the engine read {rows[0]} tokens for the {task.n_prompt} of the templated prompt"
        )
    if any(n != 1 for n in rows[1:]):
        return RequestFailed(
            f"vLLM computed {sum(rows)} tokens for {task.n_prompt + len(rows) - 1}: it preempted "
            "the request; send fewer prompts at a time, or leave it more memory"
        )
    if len(tokens) < most and not {*tokens[-1:]} & {*task.request.stops}:
        return RequestFailed(f"the engine ended the request after {len(tokens)} of {most} tokens")
    return Answer(tokens, report[STREAMS], report[LOGITS])
