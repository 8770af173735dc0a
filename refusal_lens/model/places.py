"""Where prompts are read: the sites and offsets that a caller asks for, checked against a model."""

from collections.abc import Sequence
from typing import Literal

from refusal_lens.arguments import several
from refusal_lens.errors import InputError
from refusal_lens.model.backend import Backend
from refusal_lens.model.chat import ChatTemplate
from refusal_lens.sites import Site, block_inputs

Offsets = Literal["post"] | Sequence[int]


def sites_of(backend: Backend, name: str, sites: Sequence[Site] | None) -> tuple[Site, ...]:
    """The sites; by default every block's input.

    Raises:
        InputError: no site, something else than sites, or one that the model called `name` lacks.

    >>> [str(site) for site in sites_of(model.backend, "tiny", None)]
    ['resid_pre[0]', 'resid_pre[1]', 'resid_pre[2]']
    """
    if sites is None:
        return block_inputs(backend.n_layers)
    chosen = several(sites, Site, what="site", write='[Site(15), Site.parse("resid_post[3]")]')
    if not chosen:
        raise InputError("no site was given; name at least one, or None for every block's input")
    for site in chosen:
        if site.layer >= backend.n_layers:
            raise InputError(
                f"{site} is beyond this model: its layers are 0 to {backend.n_layers - 1}"
            )
        if site.hook_name not in backend.hook_names():
            raise InputError(f"{name} has no {site}; name another site")
    return chosen


def offsets_of(chat: ChatTemplate, offsets: Offsets) -> tuple[int, ...]:
    """The offsets; "post" stands for all of the template's post-instruction tokens.

    Raises:
        InputError: no offset, or something else than negative numbers.

    >>> offsets_of(model.chat, "post") == model.chat.offsets
    True
    """
    if offsets == "post":
        return chat.offsets
    chosen = several(offsets, int, what="offset", write='[-1], or "post"')
    if not chosen:
        raise InputError('no offset was given; name at least one, as [-1], or "post"')
    for offset in chosen:
        if offset >= 0:
            raise InputError(f"offset {offset} must be negative: -1 is the last token")
    return chosen
