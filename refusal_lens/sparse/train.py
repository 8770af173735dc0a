"""Training a small autoencoder from nothing: text, residuals, training, measurements, a folder."""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Final, final

import torch

from refusal_lens.errors import InputError
from refusal_lens.folders import make_folder
from refusal_lens.model import LensModel
from refusal_lens.progress import NO_PROGRESS, Progress
from refusal_lens.prompts import PromptSet
from refusal_lens.records import Estimate, installed_versions, write_json
from refusal_lens.sites import Site
from refusal_lens.sparse.autoencoder import SparseAutoencoder
from refusal_lens.sparse.loss import LossRecovered, loss_recovered
from refusal_lens.sparse.quality import quality_of
from refusal_lens.sparse.reading import TrainingText, read_text
from refusal_lens.sparse.saelens import load_sae, save_sae
from refusal_lens.sparse.text import TextSizes, training_text
from refusal_lens.sparse.topk import TopKRecipe, TopKStep, train_topk

MEASURES: Final = "training.json"
_HELD_OUT: Final = 20
"""One row in so many of each source is not trained on."""
_WINDOWS: Final = 24
"""Held-out windows of running text on which the model's loss is measured."""


@final
@dataclass(frozen=True)
class SaeJob:
    """What is trained: where, on which books besides prompts and samples, and by which recipe.

    `work` keeps the text as token ids and the residuals, so that a stop loses at most one part of
    either; it can be deleted afterwards.
    """

    site: Site
    work: Path
    books: tuple[Path, ...] = ()
    sizes: TextSizes = TextSizes()
    recipe: TopKRecipe = field(default_factory=TopKRecipe)


def train_sae(
    model: LensModel,
    prompts: PromptSet,
    job: SaeJob,
    out: Path | str,
    *,
    progress: Progress = NO_PROGRESS,
    record: Callable[[TopKStep], None] = lambda step: None,
) -> SparseAutoencoder:
    """Train a top-k autoencoder on a model's residuals and write it in SAELens' format.

    Beside it stands `training.json`: recipe, tokens by source, and what was measured on held-out
    text: variance explained, latents per token, dead latents, and the model's loss with
    reconstructions spliced in. Weights are stored in float16, and measured as stored.

    Raises:
        InputError: no prompts, a book that can't be read, or fewer tokens than one batch.

    >>> sizes = rl.sparse.TextSizes(window=8, samples=2, sample_tokens=8, answers=1, prompts=24)
    >>> small = rl.sparse.TopKRecipe(latents=64, k=4, epochs=1, batch=64)
    >>> job = rl.sparse.SaeJob(rl.Site(2), Path("work"), sizes=sizes, recipe=small)
    >>> rl.sparse.train_sae(model, prompts, job, "sae").n_latents
    64
    """
    out = Path(out)
    texts = _kept_text(job, lambda: training_text(model, prompts, job.books, job.sizes, progress))
    trained_on, held_out = _parted(texts)
    parts = job.work / "residuals"
    resid = read_text(model, trained_on, job.site, parts, progress)
    sae = train_topk(resid, job.site, job.recipe, model_name=model.name, record=record)
    save_sae(sae, out, dtype=torch.float16)
    stored = load_sae(out)
    loss = _loss(model, stored, held_out, resid.float().mean(0), progress)
    quality = {
        text.source: asdict(quality_of(stored, read_text(model, [text], job.site, parts)))
        for text in held_out
    }
    write_json(
        out / MEASURES,
        {
            "model": model.name,
            "model_digest": model.digest,
            "site": str(job.site),
            "recipe": asdict(job.recipe),
            "text": asdict(job.sizes),
            "tokens": {text.source: text.n_tokens for text in trained_on},
            "books": {book.name: _sha256(book) for book in job.books},
            "prompts_digest": prompts.digest,
            "held_out": quality,
            "dead_of_trained_tokens": quality_of(stored, resid).dead,
            "loss": None if loss is None else _plain(loss),
            "versions": installed_versions(),
        },
    )
    return stored


def _kept_text(job: SaeJob, make: Callable[[], list[TrainingText]]) -> list[TrainingText]:
    """The text, made once per work folder; sampling it takes longer than reading it."""
    path = job.work / "text.json"
    if path.is_file():
        rows: Any = json.loads(path.read_text(encoding="utf-8"))
        return [TrainingText(s, tuple(tuple(r) for r in ids), n) for s, ids, n in rows]
    texts = make()
    make_folder(job.work)
    write_json(path, [(text.source, text.rows, text.left_out) for text in texts])
    return texts


def _parted(texts: Sequence[TrainingText]) -> tuple[list[TrainingText], list[TrainingText]]:
    """What is trained on, and the last rows of each source, which are not."""
    trained_on: list[TrainingText] = []
    held_out: list[TrainingText] = []
    for text in (text for text in texts if text.rows):
        n = len(text.rows) - max(1, len(text.rows) // _HELD_OUT)
        trained_on.append(replace(text, rows=text.rows[:n]))
        held_out.append(replace(text, rows=text.rows[n:]))
    return [text for text in trained_on if text.n_tokens], held_out


def _loss(
    model: LensModel,
    sae: SparseAutoencoder,
    held_out: Sequence[TrainingText],
    mean: torch.Tensor,
    progress: Progress,
) -> LossRecovered | None:
    """On running text; None with fewer than two held-out rows of it."""
    rows = [row for text in held_out if text.left_out == 1 for row in text.rows]
    if len(rows) < 2:
        return None
    return loss_recovered(model, sae, rows[:_WINDOWS], mean, progress=progress)


def _plain(loss: LossRecovered) -> dict[str, Any]:
    values: dict[str, Estimate] = {
        "plain": loss.plain,
        "reconstructed": loss.reconstructed,
        "mean": loss.mean,
        "zero": loss.zero,
    }
    shares = {"recovered": loss.recovered, "recovered_from_zero": loss.recovered_from_zero}
    return {name: asdict(value) for name, value in values.items()} | shares


def _sha256(path: Path) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise InputError(f"{path} can't be read: {error}") from None
