"""The residuals of running text and of chats, on disk in parts, for training an autoencoder."""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, final

import torch
from jaxtyping import Float
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from refusal_lens.errors import InputError
from refusal_lens.folders import make_folder
from refusal_lens.model import LensModel, check_unedited
from refusal_lens.model.batch import Batch, Ids
from refusal_lens.model.feed import Feed
from refusal_lens.model.keeping import made_by
from refusal_lens.model.reading import EnoughRead, HookReader
from refusal_lens.progress import NO_PROGRESS, Progress
from refusal_lens.records import digest_of, write_tensors
from refusal_lens.sites import Site

PART_ROWS: Final = 64
"""Rows whose residuals share a file: what a stop at any moment can lose."""

AS_IT_IS: Final = "text for an autoencoder is read of the model as it is"
"""Why no edit may be on, for `check_unedited`."""


@final
@dataclass(frozen=True)
class TrainingText:
    """Rows of token ids of one source, of which the first `left_out` tokens are not read.

    Those are the template's own opening, which is the same in every row, or the first token of
    running text, whose residual is many times as long as any other in most models.
    """

    source: str
    rows: tuple[Ids, ...]
    left_out: int

    @property
    def n_tokens(self) -> int:
        """Tokens that are read."""
        return sum(len(row) - self.left_out for row in self.rows)


def read_text(
    model: LensModel,
    texts: Sequence[TrainingText],
    site: Site,
    folder: Path,
    progress: Progress = NO_PROGRESS,
) -> Float[Tensor, "token d_model"]:
    """The residuals at a site of all tokens that are read, of the unedited model.

    float16, and float32 where a number is beyond its range. They are kept in `folder` in parts, and
    parts that are there already are not read again. Above the site nothing is computed. Progress
    counts rows.

    Raises:
        InputError: no text; a row that is longer than the model takes; an edit that is on;
            residuals that are not finite.

    >>> text = TrainingText("text", ((5, 6, 7, 8), (9, 10, 11)), 1)
    >>> read_text(model, [text], rl.Site(2), Path("residuals")).shape
    torch.Size([5, 32])
    """
    check_unedited(model, AS_IT_IS)
    parts = [
        replace(text, rows=text.rows[i : i + PART_ROWS])
        for text in texts
        for i in range(0, len(text.rows), PART_ROWS)
    ]
    if not parts:
        raise InputError("no text to read; give text files, or prompts")
    make_folder(folder)
    return torch.cat([_part(model, part, site, folder, progress) for part in parts])


def _part(
    model: LensModel, part: TrainingText, site: Site, folder: Path, progress: Progress
) -> Float[Tensor, "token d_model"]:
    made = made_by(model.digest, model.backend)
    key = digest_of([*made, str(site), part.left_out, list(part.rows)])
    path = folder / f"{key[:16]}.safetensors"
    resid = _kept(path)
    if resid is None:
        resid = _small(_read(model, part, site), f"{site} of {model.name}")
        partial = path.with_suffix(".partial")
        write_tensors(partial, {"resid": resid})
        partial.rename(path)
    progress(len(part.rows))
    return resid


def _kept(path: Path) -> Float[Tensor, "token d_model"] | None:
    """What a file holds; None where it is not there, or damaged."""
    try:
        return load_file(path)["resid"] if path.is_file() else None
    except (SafetensorError, KeyError, OSError):
        return None


def _small(resid: Float[Tensor, "token d_model"], where: str) -> Float[Tensor, "token d_model"]:
    """As float16, unless a number is beyond its range: some streams hold ones above 65,504."""
    if not bool(resid.isfinite().all()):
        raise InputError(
            f"{where} holds numbers that are not finite ({resid.dtype}); load the model in float32 "
            "or bfloat16, or take a layer before"
        )
    return resid.half() if fits_float16(resid) else resid.float()


def fits_float16(values: Float[Tensor, "..."]) -> bool:
    """Whether no number is beyond the range of float16.

    >>> fits_float16(torch.tensor([65_000.0])), fits_float16(torch.tensor([-70_000.0]))
    (True, False)
    """
    return bool(values.half().isfinite().all())


@torch.inference_mode()
def _read(model: LensModel, part: TrainingText, site: Site) -> Float[Tensor, "token d_model"]:
    feed = model.feed_ids(part.rows, [f"{part.source} {i}" for i in range(len(part.rows))])
    shared = len(feed.prefix.ids)  # the prefix that rows share isn't part of a batch
    read = {row: resid[part.left_out - shared :] for row, resid in own_residuals(feed, site)}
    return torch.cat([read[row] for row in sorted(read)])


def own_residuals(feed: Feed, site: Site) -> Iterator[tuple[int, Float[Tensor, "pos d_model"]]]:
    """Each row's place in the feed with the residuals of its tokens, those of the prefix that all
    rows share left out. Above the site nothing is computed.

    >>> feed = model.feed(["Why?"])
    >>> with torch.inference_mode():
    ...     ((row, resid),) = own_residuals(feed, rl.Site(1))
    >>> len(resid) == len(feed.ids[row]) - len(feed.prefix.ids)
    True
    """
    for batch, rows in feed.batches(lambda batch: _rows_of(feed, batch, site)):
        yield from zip(batch.rows, rows, strict=True)


def _rows_of(feed: Feed, batch: Batch, site: Site) -> list[Float[Tensor, "pos d_model"]]:
    n = batch.ids.shape[1]
    reader = HookReader([site.hook_name], torch.arange(n).expand(len(batch.rows), n))
    with feed.hooks(reader.hooks_until_read()), suppress(EnoughRead):
        feed.run(batch)
    values = reader.values[site.hook_name]
    return [values[i, : int(length)] for i, length in enumerate(batch.length)]
