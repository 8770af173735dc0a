"""The objective of an invariant probe, for many probes at once, and its gradient in closed form.

For a probe f = w'z + b, with class weights c_i that sum to 1 in each environment e:

    R_e = sum_i c_i (softplus(f_i) - y_i f_i)                       risk
    D_e = (sum_i c_i (s_i - y_i) f_i)^2 + (sum_i c_i (s_i - y_i))^2, s_i = sigmoid(f_i)
    V_e = the variance of f, or: its variance within classes / (distance of the class means)^2
    J   = (mean_e R_e + lambda mean_e D_e + gamma mean_e V_e + decay |w|^2) / (1 + lambda)

D_e is IRMv1's penalty: the squared gradient of R_e by a dummy scale and offset (1, 0) of the logit
(Arjovsky et al. 2019); V_e is the bottleneck (Ahuja et al. 2021, arXiv 2106.06607). Their linear
experiments minimise (1 - l) mean R + l sum D + g mean V with l = .9, g = .1: up to a factor, which
Adam hardly sees, lambda = E l / (1 - l) = 9 E for E environments, and gamma = g / (1 - l) = 1.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import final

import torch
from jaxtyping import Float64, Int64
from torch import Tensor

from refusal_lens.directions.invariance.environments import EnvironmentData
from refusal_lens.directions.invariance.features import FeatureBasis
from refusal_lens.directions.invariance.recipe import Bottleneck, Config

Probes = Float64[Tensor, "probe component_and_one"]


@final
@dataclass(frozen=True, eq=False)
class PenaltyWeights:
    """lambda, gamma and the weight of |w|^2 of each probe, [probe, 1]."""

    penalty: Float64[Tensor, "probe 1"]
    bottleneck: Float64[Tensor, "probe 1"]
    decay: Float64[Tensor, "probe 1"]

    @classmethod
    def of(cls, configs: Sequence[Config]) -> "PenaltyWeights":
        """Those of configurations."""
        rows = [(c.penalty, c.bottleneck, c.decay) for c in configs]
        return cls(*torch.tensor(rows, dtype=torch.float64).T[..., None])


@final
class InvarianceObjective:
    """J of many probes on the features of training environments.

    Environments are padded to the longest, with weight 0: one row of `c` is one environment.
    """

    def __init__(self, basis: FeatureBasis, data: EnvironmentData, bottleneck: Bottleneck) -> None:
        rows = _rows(data.environment)
        present = rows >= 0
        self.n = len(rows)
        self.kind: Bottleneck = bottleneck
        self.z = torch.where(present.flatten()[:, None], basis(data.x)[rows.flatten()], 0.0)
        self.y = (data.refused.double()[rows] * present).flatten()
        self.c = (self.n * data.weights()[rows] * present).flatten()
        self._zt = self.z.mT.contiguous()

    def value(self, w: Probes, weights: PenaltyWeights) -> Float64[Tensor, " probe"]:
        """J of each probe."""
        f = w @ self._zt
        gap = (f.sigmoid() - self.y) * self.c
        scale, offset = self._sum(gap * f), self._sum(gap)
        risk = self._sum((torch.nn.functional.softplus(f) - self.y * f) * self.c).mean(1)
        penalty = (scale.square() + offset.square()).mean(1)
        decay = w[:, :-1].square().sum(1)
        parts = (weights.penalty, penalty), (weights.bottleneck, self._bottleneck(w))
        total = risk + sum(k[:, 0] * x for k, x in (*parts, (weights.decay, decay)))
        return total / (1 + weights.penalty[:, 0])

    def gradient(self, w: Probes, weights: PenaltyWeights) -> Probes:
        """dJ/dw of each probe."""
        f = w @ self._zt
        s = f.sigmoid()
        gap = (s - self.y).mul_(self.c)
        slope = torch.addcmul(s, s, s, value=-1).mul_(self.c)
        twice = 2 * weights.penalty
        scale, offset = twice * self._sum(gap * f), twice * self._sum(gap)
        shape = (len(w), self.n, -1)
        by_f = torch.addcmul(offset[..., None], scale[..., None], f.view(shape))
        by_f.mul_(slope.view(shape)).addcmul_(gap.view(shape), scale[..., None] + 1)
        total = by_f.view(len(w), -1) @ self.z / self.n
        total += weights.bottleneck * self._bottleneck_gradient(w)
        total[:, :-1] += 2 * weights.decay * w[:, :-1]
        return total / (1 + weights.penalty)

    def _sum(self, x: Float64[Tensor, "probe prompt"]) -> Float64[Tensor, "probe environment"]:
        return x.view(len(x), self.n, -1).sum(-1)

    def _bottleneck(self, w: Probes) -> Float64[Tensor, " probe"]:
        if self.kind == "variance":
            return torch.einsum("pk,ekl,pl->pe", w, self._covariance, w).mean(1)
        within = torch.einsum("pk,ekl,pl->pe", w, self._within, w)
        return (within / (w @ self._distance.mT).square()).mean(1)

    def _bottleneck_gradient(self, w: Probes) -> Probes:
        if self.kind == "variance":
            return w @ self._twice_mean_covariance
        side = torch.einsum("pk,ekl->pel", w, self._within)
        within, distance = torch.einsum("pel,pl->pe", side, w), w @ self._distance.mT
        first = 2 * (side / distance.square()[..., None]).mean(1)
        return first - 2 * (within / distance**3) @ self._distance / self.n

    @cached_property
    def _by_environment(self) -> tuple[Tensor, Tensor, Tensor]:
        """Features, class weights and labels of each environment."""
        shape = (self.n, -1)
        return self.z.view(self.n, -1, self.z.shape[1]), self.c.view(shape), self.y.view(shape)

    @cached_property
    def _covariance(self) -> Float64[Tensor, "environment component component"]:
        z, c, _ = self._by_environment
        return _covariance(z, c)

    @cached_property
    def _twice_mean_covariance(self) -> Float64[Tensor, "component component"]:
        return 2 * self._covariance.mean(0)

    @cached_property
    def _within(self) -> Float64[Tensor, "environment component component"]:
        """The mean of the two classes' covariances."""
        z, c, y = self._by_environment
        return (_covariance(z, 2 * c * y) + _covariance(z, 2 * c * (1 - y))) / 2

    @cached_property
    def _distance(self) -> Float64[Tensor, "environment component"]:
        z, c, y = self._by_environment
        return torch.einsum("en,enk->ek", 2 * c * (2 * y - 1), z)


def _covariance(
    z: Float64[Tensor, "environment prompt component"], c: Float64[Tensor, "environment prompt"]
) -> Float64[Tensor, "environment component component"]:
    """With weights that sum to 1."""
    mean = torch.einsum("en,enk->ek", c, z)
    return torch.einsum("en,enk,enl->ekl", c, z, z) - mean[:, :, None] * mean[:, None]


def _rows(environment: Int64[Tensor, " prompt"]) -> Int64[Tensor, "environment place"]:
    """The prompts of each environment, and -1 behind them."""
    each = [(environment == e).nonzero().squeeze(1) for e in environment.unique()]
    return torch.nn.utils.rnn.pad_sequence(each, batch_first=True, padding_value=-1)
