"""A fake of nnsight 0.8.1's vLLM mode, over Hugging Face on the CPU.

Names, arguments, defaults and results are those of nnsight's documentation, as far as
`refusal_lens.engines` uses them, and so are the habits that an adapter trips over:

- the body of a `with tracer.invoke(...)` is taken from the source file and runs elsewhere: what it
  names is pickled, the model and the tracer excepted, and runs once on every rank;
- a value is asked for in the model's order, or the model has run past it: an error in the first
  pass, and a loop that ends without a word in a later one;
- a block gets its own rows of what the engine computes for all requests, as a view of a buffer that
  is overwritten behind it; a block of the model returns two summands, its first argument are the
  positions; what is assigned must keep its rows;
- what a name holds comes back as a list, unless one request alone has saved it;
- an error in one request is raised behind all of them; a request that never ran brings nothing.

`Faults` makes an engine that is broken in one way.
"""

import ctypes
import io
import pickle
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from types import ModuleType, SimpleNamespace
from typing import Any, ClassVar

import cloudpickle
from torch import Tensor
from transformers import AutoModelForCausalLM

from support.captured_with import Skipped, body_of, names_in, skip_body
from support.fake_nnsight_worker import LOCAL, Decoding, Worker
from support.fake_vllm import DTYPES, EngineFaults, SamplingParams

BLOCKS = "model.layers"


@dataclass
class Faults(EngineFaults):
    """What goes wrong in this engine."""

    loses_edits: bool = False
    ends_early: bool = False
    first_is_stream: bool = False


def save(value: Any) -> Any:
    """Mark an object, so that the name that holds it comes back."""
    LOCAL.worker.saved.append(value)
    return value


class Module:
    """A module of the tree, where values are read and assigned."""

    def __init__(self, path: str, size: int = 0) -> None:
        self.__dict__.update(path=path, size=size)

    def __len__(self) -> int:
        return self.size

    def __getattr__(self, name: str) -> Any:
        if name not in ("output", "inputs"):
            raise AttributeError(name)
        return LOCAL.worker.ask(f"{self.path}.{name}")

    def __setattr__(self, name: str, value: Any) -> None:
        assert name in ("output", "inputs")
        LOCAL.worker.ask(f"{self.path}.{name}", put=value)


class Tree:
    """What a block sees of the model in a worker."""

    def __init__(self, n_layers: int) -> None:
        self.n_layers = n_layers

    def get(self, path: str) -> Module:
        """A module by its path, relative to the model."""
        if path == BLOCKS:
            return Module(path, self.n_layers)
        parent, _, last = path.rpartition(".")
        if parent != BLOCKS or not last.isdigit() or int(last) >= self.n_layers:
            raise AttributeError(path)
        return Module(path)

    @property
    def logits(self) -> Tensor:
        """[1, vocabulary] of a pass."""
        return LOCAL.worker.ask("logits")

    @property
    def samples(self) -> Tensor:
        """[1, 1], the token drawn."""
        return LOCAL.worker.ask("samples")


class Steps:
    """`tracer.iter`."""

    def __init__(self, stop: int | None = None) -> None:
        self.stop = stop

    def __getitem__(self, key: slice) -> "Steps":
        return Steps(key.stop)

    def __iter__(self) -> Iterator[int]:
        worker, step = LOCAL.worker, 0
        while self.stop is None or step < self.stop:
            worker.step = step
            yield step
            step += 1


class Invoke:
    """`with tracer.invoke(ids, ...)`: one request, whose body is captured and skipped."""

    def __init__(self, trace: "Trace", prompt: list[int], settings: dict[str, Any]) -> None:
        assert prompt and all(isinstance(token, int) for token in prompt)
        self.ids, self.settings = prompt, SamplingParams(**trace.settings | settings)
        self.trace = trace

    def __enter__(self) -> None:
        frame = sys._getframe(1)
        self.node, self.code = body_of(frame)
        scope = frame.f_globals | frame.f_locals
        used = {name: scope[name] for name in names_in(self.node) if name in scope}
        self.payload = dumps(used)
        skip_body(frame, self.node)

    def __exit__(self, kind: Any, *error: Any) -> bool:
        if kind is not Skipped:
            return False
        self.trace.invokes.append(self)
        return True


class Trace:
    """`with model.trace(...) as tracer`: one call of the engine."""

    iter = Steps()

    def __init__(self, model: "VLLM", settings: dict[str, Any]) -> None:
        self.model, self.settings = model, settings
        self.invokes: list[Invoke] = []

    def invoke(self, prompt: Any, **settings: Any) -> Invoke:
        """One prompt."""
        return Invoke(self, prompt, settings)

    def __enter__(self) -> "Trace":
        return self

    def __exit__(self, kind: Any, *error: Any) -> None:
        if kind is None:
            saves, failed = self.model.run(self.invokes)
            frame: Any = sys._getframe(1)
            for name in {name for each in saves for name in each}:
                values = [each[name] for each in saves if name in each]
                frame.f_locals[name] = values if len(values) > 1 else values[0]
                ctypes.pythonapi.PyFrame_LocalsToFast(ctypes.py_object(frame), ctypes.c_int(0))
            if failed is not None:
                raise RuntimeError(f"{type(failed).__name__}: {failed}\n\nIntervention traceback:")


def dumps(scope: dict[str, Any]) -> bytes:
    """A block's names; the model and the tracer are known on the other side."""

    class Pickler(cloudpickle.Pickler):
        def persistent_id(self, obj: Any) -> Any:
            return {VLLM: "model", Trace: "tracer"}.get(type(obj))

    buffer = io.BytesIO()
    Pickler(buffer).dump(scope)
    return buffer.getvalue()


def loads(payload: bytes, n_layers: int) -> dict[str, Any]:
    """A block's names in a worker."""

    class Unpickler(pickle.Unpickler):
        def persistent_load(self, pid: Any) -> Any:
            return Tree(n_layers) if pid == "model" else SimpleNamespace(iter=Steps())

    return Unpickler(io.BytesIO(payload)).load()


class VLLM(Tree):
    """The engine, and the tree in the client's process."""

    faults: ClassVar = Faults()
    opened: ClassVar[list["VLLM"]] = []
    returns: ClassVar = "two summands"

    def __init__(
        self,
        repo_id: str,
        *,
        dispatch: bool = False,
        tensor_parallel_size: int = 1,
        dtype: str = "auto",
        **kwargs: Any,
    ) -> None:
        assert dispatch
        self.options = {"tensor_parallel_size": tensor_parallel_size, "dtype": dtype, **kwargs}
        self.hf: Any = AutoModelForCausalLM.from_pretrained(
            repo_id, dtype=DTYPES[dtype], attn_implementation="eager"
        ).eval()
        super().__init__(len(self.hf.model.layers))
        n_ctx = kwargs.get("max_model_len") or self.hf.config.max_position_embeddings
        config = SimpleNamespace(dtype=self.hf.dtype, max_model_len=n_ctx)
        self.vllm_entrypoint = SimpleNamespace(model_config=config)
        self.calls: list[list[Invoke]] = []
        VLLM.opened.append(self)

    def trace(self, **settings: Any) -> Trace:
        """One call, with settings for every request that names none."""
        return Trace(self, settings)

    def run(self, invokes: list[Invoke]) -> tuple[list[dict[str, Any]], BaseException | None]:
        """What each request has saved, and the first error in one of them."""
        self.calls.append(invokes)
        if self.faults.stops:
            raise RuntimeError(self.faults.stops)
        if any(len(invoke.ids) > self.faults.longest for invoke in invokes):
            raise ValueError("a prompt is too long")
        saves: list[dict[str, Any]] = []
        errors: list[BaseException] = []
        for n, invoke in enumerate(invokes):
            if n in self.faults.aborted:
                continue
            ranks = range(self.options["tensor_parallel_size"])
            workers = [Worker(invoke.code, loads(invoke.payload, self.n_layers)) for _ in ranks]
            Decoding(self, workers, invoke.ids, invoke.settings).run()
            for worker in workers:
                worker.end()
            errors += [w.error for w in workers[:1] if w.error is not None]
            saves.append(pickle.loads(pickle.dumps(workers[0].results())))
        return saves, next(iter(errors), None)


def modules() -> dict[str, ModuleType]:
    """The two packages, for `sys.modules`."""
    vllm, nnsight = ModuleType("vllm"), ModuleType("nnsight")
    modeling, traced = ModuleType("nnsight.modeling"), ModuleType("nnsight.modeling.vllm")
    vllm.__dict__.update(SamplingParams=SamplingParams, __version__="0.27.1")
    nnsight.__dict__.update(save=save, __version__="0.8.1")
    traced.__dict__.update(VLLM=VLLM)
    return {m.__name__: m for m in (vllm, nnsight, modeling, traced)}
