"""An edit on some of a prompt's tokens, wherever in the sequence a pass has come to."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from refusal_lens.interventions import Part


def acted(
    part: Part, hidden: Float[Tensor, "pos d_model"], first: int
) -> Float[Tensor, "pos d_model"]:
    """The stream of consecutive tokens after an edit; as it was on tokens that it leaves out.

    `first` is the place of the first of them, counted from the end of the prompt: -1 is the
    prompt's last token and 0 the first new one, as it is read back.

    >>> import torch
    >>> (part,) = rl.Only(rl.Ablate(direction), "prompt", (-1,)).parts()
    >>> (acted(part, torch.ones(3, 32), first=-2) != 1).any(1).tolist()  # places -2, -1, 0
    [False, True, False]
    """
    if part.phase == "all" and part.offsets is None:
        return part.edit(hidden)
    place = torch.arange(first, first + len(hidden))
    return torch.where(_reached(part, place).to(hidden.device)[:, None], part.edit(hidden), hidden)


def _reached(part: Part, place: Tensor) -> Bool[Tensor, " pos"]:
    prompt, generated = place < 0, place >= 0
    if part.offsets is not None:
        prompt = torch.isin(place, torch.tensor(part.offsets))
    if part.phase == "prompt":
        return prompt
    return generated if part.phase == "generated" else prompt | generated
