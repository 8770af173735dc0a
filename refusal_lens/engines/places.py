"""Which vector of the stream a site is on an engine that hooks whole decoder layers.

An engine's layer l is block l, and what it shows of it is the block's OUTPUT: `resid_post[l]`,
which is `resid_pre[l + 1]` and `hidden_states[l + 1]` of Hugging Face, one later than the number
suggests. `resid_pre[0]`, the embeddings, is no block's output: it is read and written at the input
of block 0. The inputs of later blocks are not: vLLM passes them on as two summands.
"""

from collections.abc import Iterable, Sequence
from typing import Final

from refusal_lens.errors import InputError
from refusal_lens.interventions import Part
from refusal_lens.sites import Site, block_inputs

EMBEDDING: Final = -1
"""The place before block 0; other places are the block whose output is meant."""


def place_of(site: Site, purpose: str) -> int:
    """The block whose output the site is; `EMBEDDING` for the first block's input.

    >>> [place_of(Site.parse(s), "read") for s in ("resid_pre[0]", "resid_pre[3]", "resid_post[3]")]
    [-1, 2, 3]

    Raises:
        InputError: a site inside of a block.
    """
    if site.point == "resid_pre":
        return site.layer - 1
    if site.point == "resid_post":
        return site.layer
    raise InputError(
        f"{site} can't be {purpose} on the vLLM engine, which reaches the stream between blocks "
        "alone: name resid_pre or resid_post sites, or load the model with load_model (device_map "
        "for one that is larger than a card)"
    )


def places_read(sites: Sequence[Site] | None, n_layers: int) -> tuple[tuple[Site, ...], list[int]]:
    """The sites to be read, by default every block's input, and the place of each.

    >>> places_read(None, 3)[1]
    [-1, 0, 1]

    Raises:
        InputError: no site, one that the engine can't read, or beyond the model.
    """
    chosen = block_inputs(n_layers) if sites is None else tuple(sites)
    if not chosen:
        raise InputError("no site was given; name at least one, or None for every block's input")
    for site in chosen:
        if site.layer >= n_layers:
            raise InputError(f"{site} is beyond this model: its layers are 0 to {n_layers - 1}")
    return chosen, [place_of(site, "read") for site in chosen]


def check_seen(sites: Iterable[Site], parts: Iterable[Part], n_layers: int) -> None:
    """Reject reading `resid_post[l]` while `resid_pre[l + 1]` is edited.

    They are one vector here, and the edit would show; in a `LensModel` it acts behind the first.
    An erasure that acts last at both changes nothing the second time, and may stay.
    """
    acting = [(part, {*part.edit.sites(n_layers)}) for part in parts]
    for site in sites:
        later = Site(site.layer + 1)
        if site.point == "resid_post" and not _is_same_at_both(acting, site, later):
            raise InputError(
                f"{site} can't be read while {later} is edited: on the vLLM engine they are one "
                f"vector; read {later}"
            )


def _is_same_at_both(acting: Sequence[tuple[Part, set[Site]]], site: Site, later: Site) -> bool:
    """Whether what acts at `later` has nothing to change behind what acts at `site`."""
    for i, (part, sites) in enumerate(acting):
        if later not in sites:
            continue
        if site not in sites or not part.edit.repeatable:
            return False
        for k, (other, others) in enumerate(acting):
            behind = later in others or (site in others and k > i)
            if k != i and behind and part.may_meet(other):
                return False
    return True
