"""The scores of a candidate direction, each beside the unedited model (Arditi et al. 2024)."""

from dataclasses import dataclass
from typing import Final

import torch
from jaxtyping import Float
from torch import Tensor

from refusal_lens.directions import Direction
from refusal_lens.evaluation.scoring import refusal_scores, scores_from_logits
from refusal_lens.intervals import mean_estimate
from refusal_lens.interventions import Ablate, Add
from refusal_lens.judges import ScoreTrust
from refusal_lens.model import LensModel
from refusal_lens.prompts import PromptSet
from refusal_lens.records import Estimate

_KL_EPSILON: Final = 1e-6


@dataclass(frozen=True, eq=False)
class CandidateScores:
    """Measures a direction's scores, each by itself, against the unedited model on either side."""

    model: LensModel
    trust: ScoreTrust
    harmful: PromptSet
    harmless: PromptSet
    plain: Float[Tensor, "prompt d_vocab"]
    harmful_plain: Float[Tensor, " prompt"]
    harmless_plain: Float[Tensor, " prompt"]

    @classmethod
    def against_unedited(
        cls, model: LensModel, trust: ScoreTrust, harmful: PromptSet, harmless: PromptSet
    ) -> "CandidateScores":
        """Reads the unedited model once, for all candidates."""
        plain = model.logits(harmless)
        scores = scores_from_logits(model, harmless, trust, plain)
        return cls(
            model, trust, harmful, harmless, plain, refusal_scores(model, harmful, trust), scores
        )

    def ablation(self, d: Direction) -> Estimate:
        """The mean score of harmful prompts with the direction ablated everywhere."""
        with self.model.editing(Ablate(d)):
            scores = refusal_scores(self.model, self.harmful, self.trust)
        return mean_score(scores, self.harmful_plain)

    def divergence(self, d: Direction) -> Estimate:
        """The mean KL on benign prompts, unedited to ablated everywhere."""
        with self.model.editing(Ablate(d)):
            edited = self.model.logits(self.harmless)
        return mean_estimate(kl_divergence(self.plain, edited).tolist(), 0.0)

    def addition(self, d: Direction) -> Estimate:
        """The mean score of benign prompts with the raw difference added at its layer."""
        with self.model.editing(Add(d, strength=1.0)):
            scores = refusal_scores(self.model, self.harmless, self.trust)
        return mean_score(scores, self.harmless_plain)


def kl_divergence(
    plain: Float[Tensor, "prompt d_vocab"], edited: Float[Tensor, "prompt d_vocab"]
) -> Float[Tensor, " prompt"]:
    """Sum of p log((p + 1e-6)/(q + 1e-6)) in nats, p unedited, q edited, in float64.

    As in the released code of Arditi et al. 2024.

    >>> import torch
    >>> kl_divergence(torch.tensor([[1.0, 0.0]]), torch.tensor([[1.0, 0.0]]))
    tensor([0.])
    """
    p, q = plain.double().softmax(-1), edited.double().softmax(-1)
    return (p * ((p + _KL_EPSILON).log() - (q + _KL_EPSILON).log())).sum(-1).float()


def mean_score(scores: Float[Tensor, " prompt"], control: Float[Tensor, " prompt"]) -> Estimate:
    """The mean over prompts that have a score; control: the mean of the unedited model's."""
    kept = ~torch.isnan(scores)
    base = control[~torch.isnan(control)]
    return mean_estimate(scores[kept].tolist(), float(base.mean()) if len(base) else None)
