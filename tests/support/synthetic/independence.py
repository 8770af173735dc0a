"""Representational independence of invented directions: only the first depends on the second."""

import torch

from refusal_lens.optimised import Independence
from support.paired_residuals import PROVENANCE

PROMPTS = 12
LAYERS = 4


def independence(names: tuple[str, ...] = ("red", "green", "blue")) -> Independence:
    """Noise that a control has as well, and a large downstream change of the first's cosine."""
    generator = torch.Generator().manual_seed(0)
    k = len(names)

    def noise(*shape: int) -> torch.Tensor:
        return 0.01 + 0.004 * torch.rand(*shape, generator=generator)

    control, control_downstream = noise(k, PROMPTS), noise(k, PROMPTS)
    downstream = control_downstream - 0.004 + 0.003 * torch.rand(k, k, PROMPTS, generator=generator)
    downstream[range(k), range(k)] = 0.0
    downstream[1, 0] += 0.2
    change = downstream + 0.1
    return Independence(
        names=names,
        change=change,
        downstream=downstream,
        by_layer=change.mean(-1, keepdim=True).expand(-1, -1, LAYERS).clone(),
        control=control,
        control_downstream=control_downstream,
        control_by_layer=control.mean(-1, keepdim=True).expand(-1, LAYERS).clone(),
        n_controls=3,
        provenance=PROVENANCE,
    )
