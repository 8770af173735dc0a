"""vLLM with its plugin vllm-lens as an engine: the interface that is used, and nothing beyond it.

vllm-lens (UK AI Security Institute, https://github.com/UKGovernmentBEIS/vllm-lens) hooks the
decoder layers of vLLM's workers. What is asked of a layer goes in with a request, under these keys
of `SamplingParams.extra_args`:

    output_residual_stream    [layer, ...]: return the OUTPUT of these layers, at every token
    apply_hooks               [Hook, ...]: functions of a layer's output or, with `pre`, its input
    skip_reading_prefix_cache compute every token anew

Written from the source of vllm-lens 1.3.0, which requires vllm 0.30.0. Its steering vectors are not
used: their position_indices count from the first token of each forward pass instead of from that of
the sequence, so that chunks of a prompt and new tokens are taken for its beginning.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Final, final

import torch
from jaxtyping import Float
from torch import Tensor

from refusal_lens.engines.interface import Answer, Engine, Opened, Request, RequestFailed
from refusal_lens.engines.places import EMBEDDING
from refusal_lens.engines.vllm_lens.on_worker import KEPT, ActOn, CountTokens, KeepStream
from refusal_lens.errors import InputError, reason_of
from refusal_lens.model.batch import Ids

_UNFINISHED: Final = ("abort", "error")


@final
@dataclass(frozen=True)
class VllmLensNames:
    """The three names of the two packages, and their versions."""

    llm: Any
    sampling_params: Any
    hook: Any
    versions: Mapping[str, str]


def import_vllm_lens() -> VllmLensNames:
    """vLLM and vllm-lens, imported when they are first needed.

    Raises:
        InputError: one of them is not installed, or can't be imported.
    """
    try:
        vllm, lens = import_module("vllm"), import_module("vllm_lens")
        versions = {"vllm": str(vllm.__version__), "vllm_lens": str(lens.__version__)}
        return VllmLensNames(vllm.LLM, vllm.SamplingParams, lens.Hook, versions)
    except (ImportError, AttributeError) as error:
        raise InputError(
            f"the vLLM engine needs vLLM and its plugin vllm-lens ({reason_of(error)}); install "
            f"them with pip install 'refusal-lens[vllm]', under Python 3.12 or newer"
        ) from None


@final
@dataclass(frozen=True, eq=False)
class Sent:
    """A request as vllm-lens gets it.

    `counting` are the places in `hooks` of those that report on how many tokens they have run,
    with the layers at which they do.
    """

    request: Request
    hooks: tuple[Any, ...]
    counting: Mapping[int, tuple[int, ...]]

    def params(self, interface: VllmLensNames) -> Any:
        """A new `SamplingParams`: vllm-lens takes the edits out of the one it is given."""
        asked = self.request
        extra: dict[str, Any] = {"skip_reading_prefix_cache": True}
        if layers := blocks_of(asked.reads):
            extra["output_residual_stream"] = layers
        if self.hooks:
            extra["apply_hooks"] = list(self.hooks)
        return interface.sampling_params(
            logprobs=-1 if asked.logits else None, extra_args=extra, **asked.sampling()
        )


@final
class VllmLensEngine(Engine):
    """An `Engine`; `surplus` is how many tokens a pass already under way may compute too many."""

    def __init__(self, interface: VllmLensNames, llm: Any, opened: Opened, surplus: int) -> None:
        super().__init__(opened)
        self.llm = llm
        self._interface, self._surplus = interface, surplus

    def run(
        self, prompts: Sequence[Ids], requests: Sequence[Request]
    ) -> Sequence[Answer | RequestFailed]:
        """An answer for each prompt, or why there is none."""
        if len({id(request) for request in requests}) == 1:
            sent = [self._sent(requests[0], len(prompts[0]))] * len(prompts)
            params: Any = sent[0].params(self._interface)  # to the workers once, not per prompt
        else:
            sent = [self._sent(r, len(ids)) for r, ids in zip(requests, prompts, strict=True)]
            params = [each.params(self._interface) for each in sent]
        tokens = [{"prompt_token_ids": list(ids)} for ids in prompts]
        outputs: Sequence[Any] = self.llm.generate(tokens, params, use_tqdm=False)
        if len(outputs) != len(prompts):
            why = f"the engine gave {len(outputs)} outputs for {len(prompts)} prompts"
            return [RequestFailed(why)] * len(prompts)
        triples = zip(outputs, sent, prompts, strict=True)
        return [self._answer(output, each, ids) for output, each, ids in triples]

    def _sent(self, request: Request, n_prompt: int) -> Sent:
        """A request with its hooks: first the edits, then what counts, last what keeps."""
        hooks: list[Any] = []
        places = {place for act in request.acts for place in act.places}
        for act in request.acts:
            hooks += self._hooks(ActOn(act.part, n_prompt), act.places)
        keeps = EMBEDDING in request.reads
        counting: dict[int, tuple[int, ...]] = {}
        embedding = {0} if keeps else set[int]()
        for hook in self._hooks(CountTokens(), places | {*blocks_of(request.reads)} | embedding):
            counting[len(hooks)] = tuple(hook.layer_indices)
            hooks.append(hook)
        if keeps:
            hooks += self._hooks(KeepStream(), (EMBEDDING,))
        return Sent(request, tuple(hooks), counting)

    def _hooks(self, function: Any, places: Iterable[int]) -> list[Any]:
        """Hooks that call a function at these places: one before block 0, one behind blocks."""
        hooks: list[Any] = []
        if EMBEDDING in places:
            hooks.append(self._interface.hook(fn=function, layer_indices=[0], pre=True))
        if blocks := blocks_of(places):
            hooks.append(self._interface.hook(fn=function, layer_indices=blocks))
        return hooks

    def _answer(self, output: Any, sent: Sent, ids: Ids) -> Answer | RequestFailed:
        try:
            check_output(output, sent, ids, self._surplus)
            streams = streams_of(output, sent, len(ids))
            logits = logits_of(output) if sent.request.logits else None
        except RequestFailed as failure:
            return failure
        return Answer(tuple(map(int, output.outputs[0].token_ids)), streams, logits)


def blocks_of(places: Iterable[int]) -> list[int]:
    """The places that are a block's output."""
    return sorted({*places} - {EMBEDDING})


def check_output(output: Any, sent: Sent, ids: Ids, surplus: int) -> None:
    """Reject an output of other tokens than were sent, that did not end, or with hooks left out.

    Where a request had to give way to others and was computed again, hooks have seen tokens twice,
    and what they took for a place in the sequence was none.

    Raises:
        RequestFailed: with the reason.
    """
    if tuple(output.prompt_token_ids or ()) != ids:
        raise RequestFailed(
            f"the engine read {len(output.prompt_token_ids or ())} tokens that are not the "
            f"{len(ids)} of the templated prompt"
        )
    if not output.outputs or not output.finished:
        raise RequestFailed("the engine did not finish the request")
    answer = output.outputs[0]
    if str(answer.finish_reason) in _UNFINISHED:
        raise RequestFailed(f"the engine ended the request with {str(answer.finish_reason)!r}")
    expected = len(ids) + len(answer.token_ids) - 1  # the last new token is not read back
    for hook, layers in sent.counting.items():
        for layer in layers:
            n = _reported(output, hook).get(str(layer), 0)
            if n < expected:
                raise RequestFailed(
                    f"the hooks of layer {layer} ran on {n} of {expected} tokens; the log of "
                    "vLLM's workers has the error under 'vllm-lens hook error'"
                )
            if n > expected + surplus:
                raise RequestFailed(
                    f"vLLM computed {n} tokens for {expected}: it preempted the request; send "
                    "fewer prompts at a time, or leave it more memory"
                )


def streams_of(output: Any, sent: Sent, n: int) -> dict[int, Float[Tensor, "offset d_model"]]:
    """The stream of a prompt of `n` tokens by place, at the offsets that were asked for.

    Raises:
        RequestFailed: the engine did not return all of it.
    """
    streams: dict[int, Tensor] = {}
    if layers := blocks_of(sent.request.reads):
        activations: Mapping[str, Tensor] = getattr(output, "activations", None) or {}
        outputs = activations.get("residual_stream")
        shape = [] if outputs is None else list(outputs.shape)
        if outputs is None or shape[:2] != [len(layers), n]:
            raise RequestFailed(
                f"the engine returned a residual stream of shape {shape}; expected "
                f"{len(layers)} layers x {n} tokens x d_model"
            )
        streams |= dict(zip(layers, outputs, strict=True))
    if EMBEDDING in sent.request.reads:
        kept = _reported(output, len(sent.hooks) - 1).get(KEPT, ())
        if len(kept) < n:
            raise RequestFailed(
                f"the engine showed the input of block 0 at {len(kept)} of {n} tokens; leave "
                "resid_pre[0] out if this is so for every prompt"
            )
        streams[EMBEDDING] = kept[:n]
    return {place: stream[list(sent.request.offsets)] for place, stream in streams.items()}


def _reported(output: Any, hook: int) -> Mapping[str, Any]:
    """What a hook, by its place in the request, has saved; nothing if it never ran."""
    results: Mapping[str, Mapping[str, Any]] = getattr(output, "hook_results", None) or {}
    return results.get(str(hook), {})


def logits_of(output: Any) -> Float[Tensor, " d_vocab"]:
    """Logits of all tokens at the first new one.

    Raises:
        RequestFailed: the engine returned none, or those of some tokens alone.
    """
    of_token: Mapping[int, Any] = (output.outputs[0].logprobs or [{}])[0]
    n = len(of_token)
    if not n or sorted(of_token) != list(range(n)):
        raise RequestFailed(f"the engine returned the logits of {n} tokens, not of all")
    return torch.tensor([float(of_token[token].logprob) for token in range(n)])
