"""A set of directions on the hub: its two files, and a card that says what they are."""

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from huggingface_hub import HfApi
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    LocalTokenNotFoundError,
    OfflineModeIsEnabled,
    RemoteEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from refusal_lens.directions.direction_set import DirectionSet
from refusal_lens.errors import InputError, reason_of

NAME: Final = "directions"
_FILES: Final = (f"{NAME}.json", f"{NAME}.safetensors")
_UNREACHED: Final = (
    "the hub can't be reached for {at!r}, and it is not in the cache; check the connection, or use "
    "a folder: directions.save(PATH), DirectionSet.load(PATH)"
)
_MESSAGES: Final[dict[type[Exception], str]] = {  # a class before those that it derives from
    HFValidationError: "{repo!r} is no hub id ({reason}); write NAME/SET",
    LocalEntryNotFoundError: _UNREACHED,
    OfflineModeIsEnabled: _UNREACHED,
    RevisionNotFoundError: "{repo!r} has no revision {revision!r}; look at its history",
    RemoteEntryNotFoundError: f"{{at!r}} holds no set of directions; expected {list(_FILES)}",
    GatedRepoError: "{at!r} is gated; ask for access on its page, then log in",
    RepositoryNotFoundError: (
        "{at!r} is not on the hub, or is private; check the name, or log in with `hf auth login`"
    ),
}


def push(directions: DirectionSet, repo_id: str, *, private: bool | None, token: str | None) -> str:
    """See `DirectionSet.push_to_hub`."""
    api = HfApi(token=token)
    with _one_line(repo_id, None), TemporaryDirectory() as folder:
        directions.save(Path(folder) / NAME)
        card = Path(folder) / "README.md"
        card.write_text(card_of(directions, repo_id), encoding="utf-8")
        api.create_repo(repo_id, private=private, exist_ok=True)
        done = api.upload_folder(
            repo_id=repo_id,
            folder_path=folder,
            commit_message=f"Directions of {directions.provenance.model}",
            allow_patterns=[*_FILES, card.name],
        )
    return str(done.commit_url)


def pull(repo_id: str, *, revision: str | None, token: str | None) -> DirectionSet:
    """See `DirectionSet.from_hub`."""
    api = HfApi(token=token)
    with _one_line(repo_id, revision):
        paths = [api.hf_hub_download(repo_id, name, revision=revision) for name in _FILES]
    return DirectionSet.load(Path(paths[0]).with_suffix(""))


def card_of(directions: DirectionSet, repo_id: str) -> str:
    """The card: model, sites, offsets, categories, provenance, what it is for."""
    d, p = directions, directions.provenance
    versions = ", ".join(f"{name} {version}" for name, version in p.versions.items())
    return f"""---
library_name: refusal_lens
tags:
- refusal-lens
- interpretability
- activation-steering
---

# Refusal directions of {p.model}

Unit vectors of the residual stream that point from answered prompts towards refused ones, one for
each category, site and offset, with the length that each had ("scale"). Positive points towards
refusal. For research on how models refuse: no model's weights are in here, and none are edited.

- model: {p.model} (weights `{p.model_digest[:12]}`, {p.dtype} on {p.device}), edits: {p.edits}
- method: {d.method}
- sites: {", ".join(str(site) for site in d.sites)}
- offsets from the end of the templated prompt: {", ".join(map(str, d.offsets))}
- width of the stream: {d.vectors.shape[-1]}
- prompts `{p.prompts_digest[:12]}`, chat template `{p.template_digest[:12]}`, seed {p.seed}
- versions: {versions}

| category | refuse side, n | comply side, n | longest scale |
|---|---|---|---|
{_card_rows(d)}

```python
from refusal_lens import Ablate, DirectionSet, load_model

directions = DirectionSet.from_hub("{repo_id}")
d = directions.at_site("{d.categories[0]}", directions.sites[-1])
```
"""


def _card_rows(d: DirectionSet) -> str:
    return "\n".join(
        f"| `{category}` | {n_refuse} | {n_comply} | {float(d.scale[i].max()):.3g} |"
        for i, (category, (n_refuse, n_comply)) in enumerate(
            zip(d.categories, d.count, strict=True)
        )
    )


@contextmanager
def _one_line(repo_id: str, revision: str | None) -> Generator[None]:
    """What the hub refuses, in one line each."""
    at = repo_id if revision is None else f"{repo_id}@{revision}"
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        message = next((text for kind, text in _MESSAGES.items() if isinstance(error, kind)), None)
        if message is not None:
            message = message.format(
                at=at, repo=repo_id, revision=revision, reason=reason_of(error)
            )
        elif isinstance(error, LocalTokenNotFoundError | HfHubHTTPError):
            message = _refused(at, error)
        # The errors of the connection itself have changed their library, and may again.
        elif "Connect" in type(error).__name__ or "Timeout" in type(error).__name__:
            message = _UNREACHED.format(at=at)
        else:
            raise
        raise InputError(message) from None


def _refused(at: str, error: Exception) -> str:
    response: Any = getattr(error, "response", None)
    status = getattr(response, "status_code", None)
    if status in (None, 401):
        return f"the hub wants a token for {at!r}; log in with `hf auth login`, or give token="
    if status == 403:
        return f"this token may not write to {at!r}; use one with write access to that name"
    return f"the hub refuses {at!r} ({reason_of(error)}); try again later"
