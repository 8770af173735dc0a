"""Training a small autoencoder from nothing: text, residuals, training, measurements, a folder."""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final, final

import torch

from refusal_lens.errors import InputError
from refusal_lens.files import file_sha256
from refusal_lens.folders import make_folder, written_name
from refusal_lens.model import LensModel, check_unedited
from refusal_lens.model.batch import Ids
from refusal_lens.model.keeping import made_by
from refusal_lens.model.places import sites_of
from refusal_lens.progress import NO_PROGRESS, Progress
from refusal_lens.prompts import PromptSet
from refusal_lens.records import Estimate, digest_of, installed_versions, write_json
from refusal_lens.sites import Site
from refusal_lens.sparse.activations import TopK
from refusal_lens.sparse.autoencoder import SparseAutoencoder
from refusal_lens.sparse.loss import LossRecovered, loss_recovered
from refusal_lens.sparse.parting import Beginnings, parted
from refusal_lens.sparse.quality import Quality, quality_of
from refusal_lens.sparse.reading import AS_IT_IS, TrainingText, fits_float16, read_text
from refusal_lens.sparse.saelens import load_sae, save_sae
from refusal_lens.sparse.text import OPENINGS, RUNNING, TextSizes, training_text
from refusal_lens.sparse.topk import TopKRecipe, TopKStep, train_topk

MEASURES: Final = "training.json"
_RESIDUALS: Final = "residuals"
_WINDOWS: Final = 24
"""Held-out windows of running text on which the model's loss is measured."""


@final
@dataclass(frozen=True)
class SaeJob:
    """What is trained: where, on which books besides prompts and samples, and by which recipe.

    `work` keeps the text as token ids and the residuals, so that a stop loses at most one part of
    either; it can be deleted afterwards. Text of another model, other prompts, books or sizes is
    kept beside it.
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

    Beside it stands `training.json`: recipe, tokens by source, and what was measured on rows that
    were not trained on: variance explained, latents per token, dead latents, and the model's loss
    with reconstructions spliced in. Tokens at which such a row still begins like one that was
    trained on are left out, as their residuals were trained on; a source with fewer than two
    tokens left is not measured. Weights are stored in float16 (float32 where a number is beyond its
    range), and measured as stored.

    Raises:
        InputError: a site that the model does not have, an edit that is on, no prompts, a book that
            can't be read, or fewer tokens than one batch.

    >>> sizes = rl.sparse.TextSizes(window=8, samples=2, sample_tokens=8, answers=1, prompts=24)
    >>> small = rl.sparse.TopKRecipe(latents=64, k=4, epochs=1, batch=64)
    >>> job = rl.sparse.SaeJob(rl.Site(2), Path("work"), sizes=sizes, recipe=small)
    >>> rl.sparse.train_sae(model, prompts, job, "sae").n_latents
    64
    """
    out = Path(out)
    sites_of(model.backend, model.name, [job.site])
    check_unedited(model, AS_IT_IS)
    books = {book: _sha256(book) for book in job.books}
    trained_on, held_out = parted(_kept_text(model, prompts, job, books, progress))
    beginnings = Beginnings(trained_on)
    resid = read_text(model, trained_on, job.site, job.work / _RESIDUALS, progress)
    name = written_name(model.name)
    sae = train_topk(resid, job.site, job.recipe, model_name=name, record=record)
    stored = _stored(sae, out)
    loss = _loss(model, stored, _running(held_out, beginnings), resid.float().mean(0), progress)
    write_json(
        out / MEASURES,
        {
            "model": name,
            "model_digest": model.digest,
            "site": str(job.site),
            "recipe": asdict(job.recipe),
            "text": asdict(job.sizes),
            "tokens": {text.source: text.n_tokens for text in trained_on},
            "books": {book.name: digest for book, digest in books.items()},
            "prompts_digest": prompts.digest,
            "held_out": _quality(model, stored, held_out, beginnings, job),
            "dead_of_trained_tokens": quality_of(stored, resid).dead,
            "loss": None if loss is None else _plain(loss),
            "versions": installed_versions(),
        },
    )
    return stored


def _kept_text(
    model: LensModel,
    prompts: PromptSet,
    job: SaeJob,
    books: Mapping[Path, str],
    progress: Progress,
) -> list[TrainingText]:
    """The text, made once per work folder; sampling it takes longer than reading it.

    The file is named by all that the text depends on; a damaged one is made again.
    """
    made = [*made_by(model.digest, model.backend), model.chat.digest, OPENINGS]
    key = digest_of([*made, asdict(job.sizes), prompts.digest, list(books.values())])
    path = job.work / f"text-{key[:16]}.json"
    try:
        rows: Any = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None
    except (OSError, ValueError):
        rows = None
    if rows is not None:
        return [TrainingText(s, tuple(tuple(r) for r in ids), n) for s, ids, n in rows]
    texts = training_text(model, prompts, job.books, job.sizes, progress)
    make_folder(job.work)
    write_json(path, [(text.source, text.rows, text.left_out) for text in texts])
    return texts


def _stored(sae: SparseAutoencoder, folder: Path) -> SparseAutoencoder:
    """The autoencoder as its folder holds it: in float16 where that holds its numbers."""
    assert isinstance(sae.activation, TopK)
    tensors = (sae.w_enc, sae.w_dec, sae.b_dec, sae.activation.bias)
    small = all(fits_float16(tensor) for tensor in tensors)
    save_sae(sae, folder, dtype=torch.float16 if small else torch.float32)
    return load_sae(folder)


def _quality(
    model: LensModel,
    sae: SparseAutoencoder,
    held_out: Sequence[TrainingText],
    beginnings: Beginnings,
    job: SaeJob,
) -> dict[str, dict[str, Any]]:
    """What the autoencoder gives back of each source's tokens that are new to it."""
    measured: dict[str, Quality] = {}
    for text in held_out:
        new = beginnings.new(text)
        if int(new.sum()) >= 2:
            resid = read_text(model, [text], job.site, job.work / _RESIDUALS)
            measured[text.source] = quality_of(sae, resid[new])
    return {
        source: asdict(quality)
        for source, quality in measured.items()
        if not math.isnan(quality.explained)  # all vectors are one
    }


def _running(held_out: Sequence[TrainingText], beginnings: Beginnings) -> list[Ids]:
    """Held-out windows of running text, each from where it is new."""
    rows = [row for text in held_out if text.source in RUNNING for row in text.rows]
    cut = [row[beginnings.shared(row) :] for row in rows]
    return [row for row in cut if len(row) >= 2]


def _loss(
    model: LensModel,
    sae: SparseAutoencoder,
    windows: Sequence[Ids],
    mean: torch.Tensor,
    progress: Progress,
) -> LossRecovered | None:
    """None with fewer than two windows."""
    if len(windows) < 2:
        return None
    return loss_recovered(model, sae, windows[:_WINDOWS], mean, progress=progress)


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
        return file_sha256(path)
    except OSError as error:
        raise InputError(f"{path} can't be read: {error}") from None
