"""Try every tiny architecture against Hugging Face and write the table of what is supported.

`PYTHONPATH=tests python -m support.supported_architectures` writes docs/architectures.md; about a
minute on one thread. A test asserts that what the page says is what a run finds.
"""

import logging
import os
import sys
import warnings
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final, final

os.environ["HF_HUB_OFFLINE"] = "1"

import torch
from torch import Tensor
from transformers import AutoModelForCausalLM
from transformers.utils.logging import disable_progress_bar, set_verbosity_error

from refusal_lens.attribution import decompose_prompt, head_sources
from refusal_lens.directions import Direction
from refusal_lens.errors import InputError
from refusal_lens.interventions import Ablate
from refusal_lens.model import Decoding, LensModel, load_model
from refusal_lens.placement import Placement
from refusal_lens.sites import Site
from support.tiny_architectures import TINY, tiny_config
from support.tiny_models import write_tiny

PAGE: Final = Path(__file__).resolve().parents[2] / "docs" / "architectures.md"
PROMPTS: Final = (
    "Hi",
    "Tell me of tides and of the moon, please.",
    "How are you today?",
    "No",
)
SAME: Final = 1e-4
"""Largest relative gap that is two orders of summation in float32: none passed 2e-5."""
DECODING: Final = Decoding(max_new_tokens=10)


@final
@dataclass(frozen=True)
class Row:
    """What a run finds of one family. `gaps` are relative, of logits and of residuals."""

    family: str
    model_type: str
    refused: str = ""
    gaps: tuple[float, float] = (0.0, 0.0)
    answers: bool = False
    batch: bool = False
    ablates: bool = False
    attribution: str = ""
    half: bool = False

    @property
    def status(self) -> str:
        """What the page says of it, without numbers."""
        if self.refused:
            return f"no: {self.refused}"
        wrong = [
            name
            for name, right in (
                ("logits", self.gaps[0] < SAME),
                ("residuals", self.gaps[1] < SAME),
                ("answers", self.answers),
                ("batches", self.batch),
                ("ablation", self.ablates),
            )
            if not right
        ]
        return f"wrong: {', '.join(wrong)}" if wrong else "yes"


def try_family(family: str, folder: Path) -> Row:
    """Load one family and compare it with Hugging Face's own model of the same weights."""
    config = tiny_config(family)
    write_tiny(folder, config)
    try:
        model = load_model(folder, placement=Placement(dtype="float32", device="cpu"))
    except InputError as error:
        return Row(family, config.model_type, refused=str(error))
    reference: Any = AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, attn_implementation="eager"
    ).eval()
    return Row(
        family,
        config.model_type,
        gaps=_gaps(model, reference),
        answers=_answers(model, reference),
        batch=_batch(model),
        ablates=_ablates(model),
        attribution=_attribution(model),
        half=_half(folder),
    )


def _gaps(model: LensModel, reference: Any) -> tuple[float, float]:
    """Of the prompts in one batch to each prompt alone in Hugging Face's model."""
    sites = [Site(n, p) for n in range(model.n_layers) for p in ("resid_pre", "resid_post")]
    logits = model.logits(PROMPTS)
    resid = model.residuals(PROMPTS, sites=sites, offsets=model.chat.offsets).tensor
    backend: Any = model.backend
    blocks = reference.get_submodule(backend.model.adapter.component_mapping["blocks"].name)
    worst = [0.0, 0.0]
    for i, prompt in enumerate(PROMPTS):
        seen: list[Tensor] = []
        handles = [h for block in blocks for h in _watch(block, seen)]
        with torch.inference_mode():
            expected = reference(torch.tensor([model.chat.ids(prompt)])).logits[0, -1]
        for handle in handles:
            handle.remove()
        theirs = torch.stack([x[0, -model.chat.n_post :] for x in seen], dim=1)
        worst[0] = max(worst[0], _gap(logits[i], expected))
        worst[1] = max(worst[1], *(_gap(resid[i, :, s], theirs[:, s]) for s in range(len(sites))))
    return worst[0], worst[1]


def _watch(block: Any, seen: list[Tensor]) -> tuple[Any, Any]:
    def before(module: Any, args: Any, kwargs: Any) -> None:
        first = args[0] if args else kwargs.get("hidden_states", kwargs.get("activations"))
        seen.append(first.clone())

    def behind(module: Any, args: Any, output: Any) -> None:
        seen.append((output[0] if isinstance(output, tuple) else output).clone())

    return (
        block.register_forward_pre_hook(before, with_kwargs=True),
        block.register_forward_hook(behind),
    )


def _gap(actual: Tensor, expected: Tensor) -> float:
    gap = float((actual - expected).norm() / expected.norm())
    return gap if gap == gap else float("inf")  # a NaN would lose every comparison


def _answers(model: LensModel, reference: Any) -> bool:
    """Whether greedy answers are those that Hugging Face's model gives token by token."""
    answers = model.generate_ids(PROMPTS, DECODING)
    for prompt, ours in zip(PROMPTS, answers, strict=True):
        ids = torch.tensor([model.chat.ids(prompt)])
        for token in ours:
            with torch.inference_mode():
                if int(reference(ids).logits[0, -1].argmax()) != token:
                    return False
            ids = torch.cat([ids, torch.tensor([[token]])], dim=1)
    return True


def _batch(model: LensModel) -> bool:
    """Whether company changes no answer and no log-probability."""
    together = model.generate_ids(PROMPTS, DECODING)
    alone = [model.generate_ids([p], DECODING)[0] for p in PROMPTS]
    answers = [(65, 66, 67), (65,), (70, 71), (72, 73)]
    p = model.answer_log_probs(PROMPTS, answers)
    each = [model.answer_log_probs([x], [y])[0] for x, y in zip(PROMPTS, answers, strict=True)]
    return together == alone and bool((p - torch.stack(each)).abs().max() < 1e-3)


def _ablates(model: LensModel) -> bool:
    """Whether ablation keeps a direction out of every block's end, and changes the logits."""
    d = _direction(model)
    sites = [Site(n, "resid_post") for n in range(model.n_layers)]
    plain, logits = model.residuals(PROMPTS, sites=sites).tensor, model.logits(PROMPTS)
    with model.editing(Ablate(d)):
        resid, edited = model.residuals(PROMPTS, sites=sites).tensor, model.logits(PROMPTS)
    left = (resid @ d.vector).abs().max() / resid.norm(dim=-1).max()
    there = (plain @ d.vector).abs().max() / plain.norm(dim=-1).max()
    return bool(left < 1e-5 < 1e-3 < there and (edited - logits).abs().max() > 1e-4)


def _attribution(model: LensModel) -> str:
    """By which parts the stream can be attributed: the sums are asserted by the code itself."""
    d = _direction(model)
    try:
        attribution = decompose_prompt(model, PROMPTS[1], d)
    except InputError:
        return "no"
    kind = "mixers" if any(c.kind == "mixer" for c in attribution.components) else "heads"
    try:
        head_sources(model, PROMPTS[1], d)
    except InputError:
        return kind
    return f"{kind}, words"


def _half(folder: Path) -> bool:
    """Whether it loads in bfloat16 too."""
    try:
        load_model(folder, placement=Placement(dtype="bfloat16", device="cpu"))
    except InputError:
        return False
    return True


def _direction(model: LensModel) -> Direction:
    vector = torch.randn(model.d_model, generator=torch.Generator().manual_seed(0))
    return Direction.from_difference(
        vector,
        category="random",
        site=Site(model.n_layers - 1, "resid_post"),
        offset=-1,
        provenance=model.provenance(),
        low=0.0,
    )


def run() -> list[Row]:
    """Every family, in the order of the page."""
    warnings.simplefilter("ignore")
    with TemporaryDirectory() as folder:
        return [try_family(family, Path(folder) / f"m{i}") for i, family in enumerate(TINY)]


def page(rows: list[Row]) -> str:
    """The page as Markdown."""
    loaded, out = [r for r in rows if not r.refused], [r for r in rows if r.refused]
    lines = [_TOP.format(n=len(loaded), **_versions())]
    for r in loaded:
        note = "" if r.status == "yes" else f" **{r.status}**"
        lines.append(
            f"| {r.family}{note} | `{r.model_type}` | {r.gaps[0]:.0e} | {r.gaps[1]:.0e} | "
            f"{r.attribution} | {'yes' if r.half else 'no: load in float32'} |"
        )
    lines += [_REFUSED]
    lines += [f"| {r.family} | `{r.model_type}` | {_cell(r.refused)} |" for r in out]
    return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _versions() -> dict[str, str]:
    names = ("transformers", "transformer_lens", "torch")
    return {name: metadata.version(name) for name in names}


_TOP: Final = """# Architectures

Written by `PYTHONPATH=tests python -m support.supported_architectures` with transformers
{transformers}, TransformerLens {transformer_lens} and torch {torch}. A test runs it again and
asserts that the page holds.

Each family below is a tiny random model of its configuration in
`tests/support/tiny_architectures.py`: loaded as yours would be, and compared with Hugging Face's
own model of the same weights. What is asserted of each of the {n} that load:

- logits, and the stream at the beginning and end of every block, equal Hugging Face's, prompts in
  one batch against each prompt alone (the columns give the largest relative gap, in float32);
- greedy answers are those that Hugging Face's model gives token by token;
- answers and log-probabilities of a prompt do not depend on what it is batched with;
- ablation keeps a direction out of every block's end.

When your own model is loaded the same is checked on one prompt: that each block's parts add up to
its stream, that each block begins with what the one before left, and that the logits are Hugging
Face's. What fails is refused, in one line and with exit code 2.

`attn_out` is what a block's mixer of tokens writes: attention, a state space, a convolution or
linear attention, or two of them together (Falcon-H1). `mlp_out` holds an MLP with its experts, and
in Gemma 4 the part for each token's per-layer embedding. Where a block multiplies what its modules
write (Granite), the sites show the product, which is what enters the stream. Gemma 4 multiplies the
whole stream at the end of each block: there `resid_post` is the number times `resid_mid + mlp_out`,
and attribution carries each part through the numbers behind it. A block without MLP (Mamba) has no
`mlp_out`. Recurrent blocks carry a state that can't skip padding: prompts share no prefix there and
only those of one length generate together, none enters a batch that runs (as one does elsewhere
when others have ended), and Mamba runs the whole text again at each token.

Attribution: *heads, words* gives each head's share, also by the word it reads; *heads* not by word
(the heads read another layer's values); *mixers* has only blocks whose mixer is one part, for lack
of heads that can be told apart; *mixers, words* shares out the heads of the other blocks.

| family | `model_type` | logits | residuals | attribution | bfloat16 |
|---|---|---|---|---|---|"""
_REFUSED: Final = """
## Refused

| family | `model_type` | what `load_model` says |
|---|---|---|"""


if __name__ == "__main__":
    logging.disable(logging.WARNING)
    set_verbosity_error()
    disable_progress_bar()
    rows = run()
    PAGE.parent.mkdir(exist_ok=True)
    PAGE.write_text(page(rows), encoding="utf-8")
    for row in rows:
        sys.stdout.write(f"{row.family}: {row.status}\n")
