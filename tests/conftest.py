"""Fixtures: tiny random chat models, small prompt sets, an endpoint, public samples."""

import gc
import os
import time

os.environ["HF_HUB_OFFLINE"] = "1"  # before transformers is imported: no test reaches a hub

from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:  # the process that only hands tests to workers needs none of these
    from support.judge_server import Server
    from support.tiny_models import TinyFolders

    from refusal_lens.model import LensModel
    from refusal_lens.prompts import PromptSet

_STARTED = time.monotonic()
LONGEST_FIRST = ("embedded", "study", "gpu", "model", "unit")
"""Folders in the order in which several workers take them, so that they end together."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--architecture", help="run tests on this tiny architecture and on no other")
    parser.addoption(
        "--slow-within",
        type=float,
        metavar="SECONDS",
        help="skip tests marked slow that would begin later than this after the start",
    )


def pytest_configure(config: pytest.Config) -> None:
    if hasattr(config, "workerinput"):  # a worker beside others
        import torch

        torch.set_num_threads(1)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """On a slow machine a round that must end in time leaves out slow tests, and counts them."""
    within: float | None = item.config.getoption("--slow-within")
    slow = item.get_closest_marker("slow") is not None
    if within is not None and slow and time.monotonic() - _STARTED > within:
        pytest.skip(f"marked slow, and the {within:.0f} s of --slow-within are over")


def pytest_collection_finish() -> None:
    """What was imported and collected stays: later collections of garbage need not look at it."""
    gc.collect()
    gc.freeze()


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """The longest folders first; leave out other architectures if one is named."""
    if (only := config.getoption("--architecture")) is not None:
        left_out = [item for item in items if _architecture(item) not in (None, only)]
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]
    if hasattr(config, "workerinput"):
        items.sort(key=lambda item: LONGEST_FIRST.index(_folder_of(item.nodeid)))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Tests that share fixtures go to one worker.

    By a scheduler of our own: the marks of `--dist loadgroup` are lost under pytest 9.2.
    """
    from xdist.scheduler import LoadScopeScheduling

    class BySharedFixtures(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return _group(nodeid)

    return BySharedFixtures(config, log)


def _architecture(item: pytest.Item) -> str | None:
    params = getattr(item, "callspec", None)
    chosen = [] if params is None else [params.params.get(name) for name in ("tiny", "blocks")]
    return next((value[0] for value in chosen if value is not None), None)


def _folder_of(nodeid: str) -> str:
    """The folder of `tests/` that a test is in; examples in docstrings count as unit tests."""
    first, second, *_ = Path(nodeid.partition("::")[0]).parts
    return second if first == "tests" else "unit"


def _group(nodeid: str) -> str:
    """What shares a whole run of a study, or the planted model; other fixtures are a module's."""
    path = nodeid.partition("::")[0]
    if Path(path).stem == "test_notebooks":
        return nodeid
    return folder if (folder := _folder_of(nodeid)) in ("embedded", "study") else path


@pytest.fixture(scope="session")
def tiny_folders(tmp_path_factory: pytest.TempPathFactory) -> "TinyFolders":
    """The folder of each tiny model by name, written when first asked for."""
    from support.tiny_models import TinyFolders

    return TinyFolders(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="session")
def load_tiny(tiny_folders: "TinyFolders") -> "Callable[..., LensModel]":
    """A `LensModel` by name and implementation, booted once; a test must leave it as it was."""
    from refusal_lens.model import load_model
    from refusal_lens.placement import Placement

    @cache
    def load(name: str, implementation: str = "bridge") -> "LensModel":
        placement = Placement(dtype="float32", device="cpu")
        return load_model(
            str(tiny_folders[name]), placement=placement, implementation=implementation
        )

    return load


@pytest.fixture(scope="session")
def tiny_llama(load_tiny: "Callable[..., LensModel]") -> "LensModel":
    """A `LensModel` on a random tiny Llama, for tests that need any model at all."""
    return load_tiny("llama")


@pytest.fixture(scope="session")
def hugging_face(tiny_folders: "TinyFolders") -> Callable[[str], Any]:
    """Hugging Face's own model and tokenizer by architecture, with eager attention."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    def load(name: str) -> Any:
        folder = tiny_folders[name]
        model = AutoModelForCausalLM.from_pretrained(
            folder, dtype=torch.float32, attn_implementation="eager"
        )
        return model.eval(), AutoTokenizer.from_pretrained(folder)

    return load


@pytest.fixture(scope="session")
def three_categories() -> "PromptSet":
    """Five pairs in each of three categories, of mixed lengths."""
    from refusal_lens.prompts import Prompt, PromptSet

    texts = [
        "Tell me",
        "How does a very long question about tides end?",
        "Why?",
        "Name two",
        "Go on",
    ]
    prompts = [
        Prompt(f"{c}-{i}-{label}", f"{t} {c}{' no' * bad}", c, label, "train", "test", f"{c}-{i}")
        for c in ("red", "green", "blue")
        for i, t in enumerate(texts)
        for label, bad in (("refuse", i % 3 + 1), ("comply", 0))
    ]
    return PromptSet(tuple(prompts))


@pytest.fixture(scope="session")
def reference_data() -> Path:
    """The folder with public samples, named by REFUSAL_LENS_REFERENCE_DATA."""
    folder = os.environ.get("REFUSAL_LENS_REFERENCE_DATA")
    if not folder or not Path(folder).is_dir():
        pytest.skip("REFUSAL_LENS_REFERENCE_DATA names no folder of public samples")
    return Path(folder)


@pytest.fixture
def server() -> "Iterator[Server]":
    """An endpoint of a language model on this machine."""
    from support.judge_server import Server

    endpoint = Server()
    yield endpoint
    endpoint.http.shutdown()
    endpoint.http.server_close()


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> Callable[[], list[int]]:
    """The places of the prompts whose answers were generated since the last look, in order."""
    from refusal_lens.model import generate as generation

    rows: list[int] = []
    generators = generation.row_generators

    def counting(places: list[int], decoding: Any) -> Any:
        rows.extend(places)
        return generators(places, decoding)

    def look() -> list[int]:
        seen = sorted(rows)
        rows.clear()
        return seen

    monkeypatch.setattr(generation, "row_generators", counting)
    return look
