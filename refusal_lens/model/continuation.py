"""How probable given answers are, behind their prompts."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import torch
from jaxtyping import Float
from torch import Tensor

from refusal_lens.model.forward import Feed, Ids

_POSITIONS: Final = 1024
"""Answer tokens of a batch: with a large vocabulary their logits are what takes the memory."""


def continuation_log_probs(feed: Feed, answers: Sequence[Ids]) -> Float[Tensor, " prompt"]:
    """Log-probability of each row's answer tokens behind its prompt, summed over the tokens."""
    found = torch.zeros(len(answers), dtype=torch.float64)
    rows = max(1, _POSITIONS // max(1, *map(len, answers)))
    for prompts in replace(feed, batch_size=min(feed.batch_size, rows)).batches():
        batch = prompts.extended([answers[row] for row in prompts.rows])
        size = (batch.length - batch.prompt).tolist()
        # The logits that predict an answer token stand one position before it.
        before = (batch.prompt - 1).tolist()
        first, last = min(before), max(int(batch.length.max()) - 1, min(before) + 1)
        logits = feed.prefix.run(batch, keep=range(first, last)).logits
        for i, row in enumerate(batch.rows):
            own = logits[i, before[i] - first : before[i] - first + size[i]].float()
            said = torch.tensor(answers[row], dtype=torch.int64, device=own.device)
            log_p = own.gather(1, said[:, None])[:, 0] - own.logsumexp(-1)
            found[row] = log_p.cpu().double().sum()
        feed.progress(len(batch.rows))
    return found.float()
