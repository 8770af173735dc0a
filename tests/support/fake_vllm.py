"""A fake of vLLM 0.30.0 with the plugin vllm-lens 1.3.0, over Hugging Face on the CPU.

Names, arguments, defaults and results are those of the two packages, as far as `refusal_lens.
engines` uses them, and so are the habits that an adapter trips over:

- layer l shows the OUTPUT of block l; what a pre-hook gets of a later block is one of two summands;
- edits are taken out of the `SamplingParams` that carried them: a second call has none;
- prompts come in chunks, and one pass more than needed may run after the last token;
- every tensor-parallel rank calls the hooks; lists that they save are joined, the rest replaced;
- what fails inside a hook is logged, and the pass goes on without it;
- a prefix cache knows tokens and not edits; edited requests don't read it, but they fill it.

`Faults` makes an engine that is broken in one way.
"""

import logging
import pickle
from collections.abc import Sequence
from dataclasses import dataclass, field
from types import ModuleType, SimpleNamespace
from typing import Any

import cloudpickle
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, DynamicCache

LOG = logging.getLogger("vllm_lens")
CHUNK = 7
DTYPES = {"auto": torch.float32, "float32": torch.float32, "bfloat16": torch.bfloat16}


@dataclass
class EngineFaults:
    """What goes wrong in any engine, and for which prompts (by place in a call)."""

    aborted: tuple[int, ...] = ()
    stops: str = ""
    longest: int = 10**6
    adds_token: bool = False
    ignores_edits: bool = False
    preempts: bool = False
    fails_at: int | None = None


@dataclass
class Faults(EngineFaults):
    """What goes wrong in this one."""

    loses_tokens: bool = False
    shows_inputs: bool = False
    no_pre_hooks: bool = False


@dataclass(kw_only=True)
class SamplingParams:
    """The fields that are used, with vLLM's defaults."""

    temperature: float = 1.0
    top_p: float = 1.0
    seed: int | None = None
    stop_token_ids: list[int] | None = None
    max_tokens: int | None = 16
    logprobs: int | None = None
    detokenize: bool = True
    extra_args: dict[str, Any] | None = None
    skip_reading_prefix_cache: bool | None = None


@dataclass(kw_only=True)
class Hook:
    """`fn(ctx, hidden_states)` at layers, of their output or with `pre` of their input."""

    fn: Any
    layer_indices: list[int]
    pre: bool = False

    def __post_init__(self) -> None:
        if not callable(self.fn):
            raise ValueError(f"fn must be a callable, got {type(self.fn)}")
        if not self.layer_indices:
            raise ValueError("layer_indices must be non-empty")


class HookContext:
    """What a hook function gets; `saved` goes back to the caller."""

    def __init__(self) -> None:
        self.layer_idx = self.seq_len = 0
        self.saved: dict[str, Any] = {}


@dataclass
class Run:
    """One request on its way through the layers."""

    hooks: list[Hook]
    layers: list[int]
    faults: Faults
    ranks: int
    first: int = 0
    captured: dict[int, list[Tensor]] = field(default_factory=dict)
    contexts: dict[int, list[HookContext]] = field(default_factory=dict)

    def call(self, layer: int, stream: Tensor, pre: bool) -> Tensor:
        """What the hooks of one kind make of the tokens of a pass, on every rank."""
        for place, hook in enumerate(self.hooks):
            if hook.pre != pre or layer not in hook.layer_indices:
                continue
            ranks = self.contexts.setdefault(place, [HookContext() for _ in range(self.ranks)])
            results = []
            for ctx in ranks:
                ctx.layer_idx, ctx.seq_len = layer, len(stream)
                results.append(hook.fn(ctx, stream.clone()))
            stream = stream if results[0] is None else results[0]
        return stream

    def before(self, layer: int, stream: Tensor) -> Tensor:
        """The input of a layer after its pre-hooks."""
        if self.faults.no_pre_hooks:
            raise IndexError("tuple index out of range")
        if layer == 0:
            return self.call(0, stream, pre=True)
        half = 0.5 * stream
        return self.call(layer, half, pre=True) + half

    def behind(self, layer: int, stream: Tensor, before: Tensor) -> Tensor:
        """The output of a layer after steering and hooks, captured."""
        stream = stream.clone()
        if self.faults.fails_at == layer and self.first > 0:
            raise RuntimeError("out of memory")
        edited = self.call(layer, stream, pre=False)
        stream = stream if self.faults.ignores_edits else edited
        if layer in self.layers:
            shown = before if self.faults.shows_inputs else stream
            self.captured.setdefault(layer, []).append(shown.cpu().clone())
        return stream

    def saved(self) -> dict[str, dict[str, Any]] | None:
        """What the hooks have saved, of all ranks together, as it comes out of a pickle."""
        merged: dict[str, dict[str, Any]] = {}
        for place, ranks in self.contexts.items():
            into = merged.setdefault(str(place), {})
            for ctx in ranks:
                for key, value in pickle.loads(pickle.dumps(ctx.saved)).items():
                    if isinstance(value, list) and isinstance(into.get(key), list):
                        into[key].extend(value)
                    else:
                        into[key] = value
        return merged or None


class LLM:
    """The offline engine."""

    faults = Faults()
    opened: list["LLM"] = []

    def __init__(
        self,
        model: str,
        *,
        tensor_parallel_size: int = 1,
        dtype: str = "auto",
        **kwargs: Any,
    ) -> None:
        self.options = {"tensor_parallel_size": tensor_parallel_size, "dtype": dtype, **kwargs}
        self.hf: Any = AutoModelForCausalLM.from_pretrained(
            model, dtype=DTYPES[dtype], attn_implementation="eager"
        ).eval()
        n_ctx = kwargs.get("max_model_len") or self.hf.config.max_position_embeddings
        self.model_config = SimpleNamespace(dtype=self.hf.dtype, max_model_len=n_ctx)
        self.calls: list[tuple[list[Any], Any]] = []
        self._cached: dict[tuple[int, ...], Run] = {}
        self._hooks: dict[str, list[Hook]] = {}
        LLM.opened.append(self)

    def generate(
        self, prompts: Any, sampling_params: Any = None, *, use_tqdm: bool = True
    ) -> list[Any]:
        """One output per prompt, in their order."""
        several = isinstance(sampling_params, Sequence)
        self.calls.append((prompts, sampling_params))
        if self.faults.stops:
            raise RuntimeError(self.faults.stops)
        if any(len(prompt["prompt_token_ids"]) > self.faults.longest for prompt in prompts):
            raise ValueError("a prompt is too long")
        for n, params in enumerate(sampling_params if several else [sampling_params]):
            self._take_out(n, params)
        each = sampling_params if several else [sampling_params] * len(prompts)
        assert len(each) == len(prompts)
        outputs = [
            self._output(n, prompt["prompt_token_ids"], params)
            for n, (prompt, params) in enumerate(zip(prompts, each, strict=True))
        ]
        self._hooks.clear()
        return outputs

    def _take_out(self, n: int, params: SamplingParams) -> None:
        extra = params.extra_args or {}
        if (hooks := extra.pop("apply_hooks", None)) is not None:
            extra["_hook_id"] = f"_hook_{n}"
            self._hooks[extra["_hook_id"]] = cloudpickle.loads(cloudpickle.dumps(hooks))
        if extra.pop("skip_reading_prefix_cache", None) or self._hooks:
            params.skip_reading_prefix_cache = True
        for hook in (hook for hooks in self._hooks.values() for hook in hooks):
            for layer in hook.layer_indices:
                if not 0 <= layer < len(self.hf.model.layers):
                    raise ValueError(f"layer_index {layer} out of range")

    def _output(self, n: int, ids: list[int], params: SamplingParams) -> Any:
        extra = params.extra_args or {}
        if self.faults.adds_token:
            ids = [1, *ids]
        run = Run(
            self._hooks.get(extra.get("_hook_id", ""), []),
            extra.get("output_residual_stream") or [],
            self.faults,
            self.options["tensor_parallel_size"],
        )
        if self.options.get("enable_prefix_caching", True):
            if not params.skip_reading_prefix_cache:
                run.hooks = self._cached.get(tuple(ids), run).hooks
            self._cached[tuple(ids)] = run
        aborted = n in self.faults.aborted
        tokens, logits = ([], []) if aborted else self._decode(run, ids, params)
        stopped = bool(tokens) and tokens[-1] in (params.stop_token_ids or [])
        reason = "abort" if aborted else "stop" if stopped else "length"
        answer = SimpleNamespace(token_ids=tokens, finish_reason=reason, logprobs=None)
        if params.logprobs == -1 and self.options["max_logprobs"] == -1 and not aborted:
            assert self.options["logprobs_mode"] == "raw_logits"
            answer.logprobs = [
                {i: SimpleNamespace(logprob=x) for i, x in enumerate(row.tolist())}
                for row in logits
            ]
        output = SimpleNamespace(
            request_id=str(n), prompt_token_ids=ids, outputs=[answer], finished=True
        )
        if run.captured:
            stream = torch.stack([torch.cat(run.captured[i]) for i in sorted(run.captured)])
            kept = len(ids) + len(tokens) - (2 if self.faults.loses_tokens else 1)
            output.activations = {"residual_stream": stream[:, :kept]}
        if run.hooks and (saved := run.saved()) is not None:
            output.hook_results = saved
        return output

    @torch.inference_mode()
    def _decode(
        self, run: Run, ids: list[int], params: SamplingParams
    ) -> tuple[list[int], list[Tensor]]:
        cache = DynamicCache(config=self.hf.config)
        if self.faults.preempts:
            self._pass(run, ids[:CHUNK], cache)
            cache = DynamicCache(config=self.hf.config)
        for start in range(0, len(ids), CHUNK):
            last = self._pass(run, ids[start : start + CHUNK], cache)
        tokens: list[int] = []
        logits: list[Tensor] = []
        generator = torch.Generator().manual_seed(params.seed or 0)
        while True:
            logits.append(last)
            if params.temperature == 0:
                token = int(last.argmax())
            else:
                odds = torch.softmax(last / params.temperature, 0)
                token = int(torch.multinomial(odds, 1, generator=generator))
            tokens.append(token)
            last = self._pass(run, [token], cache)  # also behind the last: the surplus pass
            if token in (params.stop_token_ids or []) or len(tokens) == params.max_tokens:
                return tokens, logits

    def _pass(self, run: Run, ids: list[int], cache: DynamicCache) -> Tensor:
        run.first = cache.get_seq_length()
        inputs: dict[int, Tensor] = {}

        def pre(layer: int) -> Any:
            def hook(module: Any, args: tuple[Any, ...]) -> Any:
                inputs[layer] = args[0][0].clone()
                try:
                    return (run.before(layer, args[0][0])[None], *args[1:])
                except Exception:
                    LOG.warning("vllm-lens pre-hook error on layer %d, skipping", layer)
                    return None

            return hook

        def post(layer: int) -> Any:
            def hook(module: Any, args: Any, output: Any) -> Any:
                plain = output[0] if isinstance(output, tuple) else output
                try:
                    made = run.behind(layer, plain[0], inputs[layer])[None]
                except Exception:
                    LOG.warning("vllm-lens hook error on layer %d, skipping", layer)
                    return None
                return (made, *output[1:]) if isinstance(output, tuple) else made

            return hook

        layers = self.hf.model.layers
        handles = [x.register_forward_pre_hook(pre(i)) for i, x in enumerate(layers)]
        handles += [x.register_forward_hook(post(i)) for i, x in enumerate(layers)]
        try:
            output = self.hf(torch.tensor([ids]), past_key_values=cache, use_cache=True)
        finally:
            for handle in handles:
                handle.remove()
        return output.logits[0, -1].float()


def modules() -> dict[str, ModuleType]:
    """The two packages, for `sys.modules`."""
    vllm, lens = ModuleType("vllm"), ModuleType("vllm_lens")
    vllm.__dict__.update(LLM=LLM, SamplingParams=SamplingParams, __version__="0.30.0")
    lens.__dict__.update(Hook=Hook, __version__="1.3.0")
    return {"vllm": vllm, "vllm_lens": lens}
