"""The workers' side of `fake_nnsight`: a request's block in turns with the forward pass."""

import threading
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache

LOCAL = threading.local()


class OutOfOrderError(Exception):
    """A value was asked for behind its place."""


class Worker:
    """One request's block on one rank, in turns with the forward pass."""

    def __init__(self, code: Any, scope: dict[str, Any]) -> None:
        self.code, self.scope = code, scope
        self.saved: list[Any] = []
        self.error: BaseException | None = None
        self.thrown: BaseException | None = None
        self.wanted: tuple[str, int] | None = None
        self.step = 0
        self._put: Any = None
        self._got: Any = None
        self._theirs, self._mine = threading.Semaphore(0), threading.Semaphore(0)
        threading.Thread(target=self._run, daemon=True).start()
        self._theirs.acquire()

    def _run(self) -> None:
        LOCAL.worker = self
        with torch.inference_mode():
            try:
                exec(self.code, self.scope)
            except BaseException as error:
                self.error = error
        self.wanted = None
        self._theirs.release()

    def _resume(self) -> None:
        self._mine.release()
        self._theirs.acquire()

    def ask(self, place: str, put: Any = None) -> Any:
        """In the block: wait for the model to come to a place; read there, or put there."""
        self.wanted, self._put = (place, self.step), put
        self._theirs.release()
        self._mine.acquire()
        if self.thrown is not None:
            raise self.thrown
        return self._got

    def visit(self, place: str, step: int, value: Any, rows: "Rows", drop: bool) -> Any:
        """In the pass: what the block makes of a value, which it may ask for again."""
        while self.wanted == (place, step):
            if self._put is None:
                self._got = rows.served(value)
            elif not drop:
                value = rows.replaced(value, self._put)
            self._resume()
        return value

    def end(self) -> None:
        """The request is over: a block that waits still is told so."""
        if self.wanted is not None:
            expected = self.step > 0
            self.thrown = OutOfOrderError(f"{self.wanted[0]!r} was requested behind its place")
            self._resume()
            self.error = None if expected else self.error

    def results(self) -> dict[str, Any]:
        """The names that hold what was saved."""
        named = self.scope.items()
        return {k: v for k, v in named if any(v is saved for saved in self.saved)}


@dataclass
class Rows:
    """The rows of one request between those of others, in buffers that do not last."""

    n: int
    before: int = 2
    buffers: tuple[Tensor, ...] = ()

    def served(self, value: Any) -> Any:
        """Views of this request's rows."""
        if isinstance(value, Tensor):
            others = torch.full_like(value[..., :1, :].repeat_interleave(self.before, -2), 9.0)
            buffer = torch.cat([others, value, others[..., :1, :]], dim=-2)
            self.buffers += (buffer,)
            return buffer.narrow(-2, self.before, self.n)
        if isinstance(value, tuple):
            return tuple(map(self.served, value))
        if isinstance(value, dict):
            return {key: self.served(x) for key, x in value.items()}
        return value

    def replaced(self, value: Any, put: Any) -> Any:
        """What the model goes on with."""
        if isinstance(value, Tensor):
            if put.shape != value.shape:
                raise ValueError(f"must be {tuple(value.shape)}, not {tuple(put.shape)}")
            return put.clone()
        if isinstance(value, tuple):
            return tuple(self.replaced(a, b) for a, b in zip(value, put, strict=True))
        if isinstance(value, dict):
            return {key: self.replaced(x, put[key]) for key, x in value.items()}
        return value

    def overwrite(self) -> None:
        """What was not copied is lost."""
        for buffer in self.buffers:
            buffer.fill_(float("nan") if buffer.is_floating_point() else -1)


class Decoding:
    """One request on its way through the model, with its block on every rank."""

    def __init__(self, engine: Any, workers: list[Worker], ids: list[int], params: Any) -> None:
        self.engine, self.workers, self.ids, self.params = engine, workers, ids, params
        self.step = 0
        self.rows = Rows(0)

    @torch.inference_mode()
    def run(self) -> None:
        """The prompt in one pass, then token by token; one pass more than needed at the end."""
        faults, params = self.engine.faults, self.params
        ids = [1, *self.ids] if faults.adds_token else list(self.ids)
        cache, last = DynamicCache(config=self.engine.hf.config), False
        given = ids
        generator = torch.Generator().manual_seed(params.seed or 0)
        while True:
            logits = self._pass(given, cache)
            token = self._draw(logits, generator)
            self.visit("samples", torch.tensor([[token]]))
            self.rows.overwrite()
            if last:
                return
            self.step += 1
            ids = [*ids, token]
            given = [token]
            ended = token in (params.stop_token_ids or []) or self.step == params.max_tokens
            last = ended or (faults.ends_early and self.step == 2)
            if faults.preempts and self.step == 1:  # computed again, in one pass
                given, cache = ids, DynamicCache(config=self.engine.hf.config)

    def _draw(self, logits: Tensor, generator: torch.Generator) -> int:
        if self.params.temperature == 0:
            return int(logits.argmax())
        odds = torch.softmax(logits / self.params.temperature, 0)
        return int(torch.multinomial(odds, 1, generator=generator))

    def visit(self, place: str, value: Any, drop: bool = False) -> Any:
        """What the blocks on all ranks make of a value: the same on each."""
        made = [w.visit(place, self.step, value, self.rows, drop) for w in self.workers]
        for other in made[1:]:
            torch.testing.assert_close(other, made[0])
        return made[0]

    def _pass(self, ids: list[int], cache: DynamicCache) -> Tensor:
        self.rows = Rows(len(ids))
        faults, layers = self.engine.faults, self.engine.hf.model.layers
        inputs: dict[int, Tensor] = {}

        def before(layer: int) -> Any:
            def hook(module: Any, args: tuple[Any, ...]) -> Any:
                hidden = args[0][0].clone()
                if layer == 0:
                    positions = torch.arange(len(ids))[:, None]
                    arguments = ((positions, hidden), {"residual": None})
                    given = self.visit("model.layers.0.inputs", arguments, faults.ignores_edits)
                    hidden = given[0][1]
                inputs[layer] = hidden
                return (hidden[None], *args[1:])

            return hook

        def behind(layer: int) -> Any:
            def hook(module: Any, args: Any, output: Any) -> Any:
                plain = output[0] if isinstance(output, tuple) else output
                stream = self._behind(layer, plain, inputs[layer])
                return (stream, *output[1:]) if isinstance(output, tuple) else stream

            return hook

        handles = [x.register_forward_pre_hook(before(i)) for i, x in enumerate(layers)]
        handles += [x.register_forward_hook(behind(i)) for i, x in enumerate(layers)]
        try:
            output = self.engine.hf(torch.tensor([ids]), past_key_values=cache, use_cache=True)
        finally:
            for handle in handles:
                handle.remove()
        self.rows = Rows(1)
        return self.visit("logits", output.logits[0, -1:].float())[0]

    def _behind(self, layer: int, stream: Tensor, before: Tensor) -> Tensor:
        """What the model goes on with behind a layer, [1, pos, d_model]."""
        faults, place = self.engine.faults, f"model.layers.{layer}.output"
        if faults.fails_at == layer and self.step > 0:
            return stream  # never visited
        if self.engine.returns == "a tensor":
            return self.visit(place, stream.clone(), faults.ignores_edits)
        if faults.first_is_stream:
            return self.visit(place, (stream[0].clone(), before.clone()))[0][None]
        pair = (stream[0] - before, before.clone())
        written, residual = self.visit(place, pair, faults.ignores_edits)
        return stream if faults.loses_edits else (written + residual)[None]
