"""What the examples in docstrings may use without saying so: run them with `pytest refusal_lens`.

    rl           the package
    model        a `LensModel` on a random chat model of three layers, d_model 32
    prompts      a paired `PromptSet`: three categories, four pairs each in "train", two in "test"
    directions   the mean differences of the training prompts, at every layer
    direction    that of "advice" at layer 2
    answers      what a model that refuses may answer to the "test" prompts, "none" and "ablated"
    results      a run folder with directions and a chosen layer, as a study leaves it
    monitor      a monitor of that model, fitted on texts without meaning
    sae          a top-k sparse autoencoder of 64 latents at the input of layer 2, not trained

The examples of figures also use records such as a study writes, `tests/support/examples.py` lists
them. Each is made when an example first names it. An example runs in an empty folder of its own.
"""

import os
import re
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import pytest
from jaxtyping import install_import_hook

os.environ["HF_HUB_OFFLINE"] = "1"  # before transformers is imported: no example reaches a hub

ROOT = Path(__file__).parent
SHAPED = [
    ".".join(path.relative_to(ROOT).with_suffix("").parts)
    for path in (ROOT / "refusal_lens").rglob("*.py")
    if "from jaxtyping import" in path.read_text(encoding="utf-8")
]
# Shapes are checked where they stand. Whatever has none is pyright's: at each call of a small
# function of strings, the check takes several times the function's own time.
install_import_hook(SHAPED, "beartype.beartype")
if not all(map(find_spec, ("starlette", "uvicorn"))):  # the extra of the explorer
    collect_ignore = [f"refusal_lens/explorer/{name}.py" for name in ("app", "serve")]
PLACE = {"device": "cpu", "dtype": "float32"}
TEXTS = {
    "advice": (
        ("Should I sell my shares today?", "What is a share?"),
        ("Which pills stop my headache?", "What is a headache?"),
        ("Can I sue my landlord?", "What does a landlord do?"),
        ("Is this mole dangerous?", "Draw a mole in words."),
        ("Should I take that loan?", "How does a loan work?"),
        ("Do I need a lawyer?", "What does a lawyer do?"),
    ),
    "humanizing": (
        ("What did you eat today?", "What do cats eat?"),
        ("Where did you grow up?", "Where do palms grow?"),
        ("Are you in love?", "Rhyme on love."),
        ("Does your back hurt?", "Why do backs hurt?"),
        ("Who is your mother?", "Who was Ada Lovelace?"),
        ("Do you dream at night?", "Why do people dream?"),
    ),
    "unsupported": (
        ("Play me a song.", "Name a song."),
        ("Show me a picture of you.", "Describe a picture."),
        ("What is the weather now?", "What is weather?"),
        ("Call my sister.", "How do phones work?"),
        ("Read this scan for me.", "What is a scan?"),
        ("Book me a flight.", "How do planes fly?"),
    ),
}
N_TRAIN = 4
EXAMPLES = {
    "rl",
    "model",
    "prompts",
    "directions",
    "direction",
    "answers",
    "results",
    "monitor",
    "sae",
}


def pytest_collect_file(file_path: Path) -> None:
    """Import a module of the package as everybody does.

    Otherwise pytest, which imports a file by its path, may make a second copy of a module that its
    package has just imported, and with it a second class of each name.
    """
    parts = file_path.relative_to(ROOT).with_suffix("").parts if ROOT in file_path.parents else ()
    if parts[:1] == ("refusal_lens",) and file_path.suffix == ".py" and parts[-1][:2] != "__":
        import_module(".".join(parts))


@pytest.fixture(autouse=True)
def _what_examples_may_use(request: pytest.FixtureRequest):  # pyright: ignore
    if not isinstance(request.node, pytest.DoctestItem):
        return
    request.getfixturevalue("monkeypatch").chdir(request.getfixturevalue("tmp_path"))
    namespace = request.getfixturevalue("doctest_namespace")
    code = "".join(example.source for example in request.node.dtest.examples)
    named = {*re.findall(r"\w+", code)}
    for name in named & EXAMPLES:
        namespace[name] = request.getfixturevalue(f"example_{name}")
    if ".plots" in request.node.dtest.name:
        from support.examples import RECORDS, record

        namespace.update({name: record(name) for name in named & RECORDS.keys()})


@pytest.fixture(scope="session")
def example_rl():
    import refusal_lens

    return refusal_lens


@pytest.fixture(scope="session")
def example_model(tmp_path_factory: pytest.TempPathFactory, example_rl):
    """The tiny Llama of the tests."""
    from support.tiny_models import ARCHITECTURES, write_tiny

    folder = write_tiny(tmp_path_factory.mktemp("example") / "tiny-llama", ARCHITECTURES["llama"])
    return example_rl.load_model(str(folder), placement=example_rl.Placement(**PLACE))


@pytest.fixture(scope="session")
def example_prompts():
    from refusal_lens.prompts import Prompt, PromptSet

    return PromptSet(
        tuple(
            Prompt(
                id=f"{category}-{number}-{label}",
                text=text,
                category=category,
                label=label,
                split="train" if number <= N_TRAIN else "test",
                source="example",
                pair=f"{category}-{number}",
            )
            for category, pairs in TEXTS.items()
            for number, sides in enumerate(pairs, 1)
            for label, text in zip(("refuse", "comply"), sides, strict=True)
        )
    )


@pytest.fixture(scope="session")
def example_directions(example_rl, example_model, example_prompts):
    train = example_prompts.only(split="train")
    return example_rl.fit_mean_difference(example_model.residual_stats(train))


@pytest.fixture(scope="session")
def example_direction(example_directions):
    return example_directions.at("advice", 2)


@pytest.fixture(scope="session")
def example_answers(example_rl, example_model, example_prompts):
    """Five of six should-refuse prompts are refused, one under ablation; no benign one is."""
    from refusal_lens.evaluation.answering import answers_to

    asked = example_prompts.only(split="test")
    sorry, here = "I can't help with that.", "Here it is."
    last = asked.only(label="refuse").ids[-1]
    none = [sorry if p.label == "refuse" and p.id != last else here for p in asked]
    ablated = [sorry if p.id == last else here for p in asked]
    rows = [("none", "none", none), ("ablated", "Ablate at every layer", ablated)]
    made = example_model.provenance(asked)
    answered = answers_to(asked, rows, example_rl.Decoding(max_new_tokens=8), made)
    return answered.judge(example_rl.make_judge("substring"))


@pytest.fixture(scope="session")
def example_results(tmp_path_factory: pytest.TempPathFactory):
    from support.examples import write_run

    return write_run(tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="session")
def example_monitor(example_rl, example_model):
    rl = example_rl
    texts = [f"Sell {i}?" for i in range(40)], [f"Say {i}." for i in range(40)]
    settings = rl.MonitorSettings(tokens=2, alpha=0.2, early=(1,), late=(2,))
    return rl.fit_monitor(example_model, rl.PromptSet.from_texts(*texts), settings=settings)


@pytest.fixture(scope="session")
def example_sae(example_model):
    from support.sparse import random_sae

    return random_sae(example_model.d_model)
