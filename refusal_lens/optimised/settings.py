"""How directions are learned: steps, prompts per step, weights of the loss terms, stopping."""

from dataclasses import dataclass, field, fields
from math import isfinite
from typing import Final, Literal, final, get_args

from refusal_lens.errors import InputError

RetainForm = Literal["paper", "code"]
RETAIN_FORMS: Final[tuple[str, ...]] = get_args(RetainForm)
Begin = Literal["given", "random"]
BEGINS: Final[tuple[str, ...]] = get_args(Begin)


@final
@dataclass(frozen=True)
class Weights:
    """Weights of the loss terms (Wollschlaeger et al. 2025); a term of weight 0 is off.

    >>> Weights(addition=0.0).retain
    1.0

    Raises:
        InputError: a negative weight.
    """

    ablation: float = 1.0
    addition: float = 0.2
    retain: float = 1.0
    independence: float = 200.0

    def __post_init__(self) -> None:
        for f in fields(self):
            value: float = getattr(self, f.name)
            if not (isfinite(value) and value >= 0):
                raise InputError(f"weight {f.name}={value} must be 0 (off) or a positive number")


@final
@dataclass(frozen=True)
class Settings:
    """How a direction or a cone is learned.

    A step takes `accumulation` times `rows` prompts per term. The defaults are sized for a model of
    half a billion parameters on two CPU cores, by the operations that they take: minutes per
    direction. They are smaller than the paper's: 16 prompts per step over an epoch of hundreds of
    prompts, refusals of up to 30 tokens (`target_tokens`), KL over the last 30 positions (here
    those of `retain_tokens` tokens and one more), and for cones 256 samples per step (here half of
    a step's rows).

    Every `evaluate_every` steps the loss is taken on `evaluation_prompts` prompts per term (at most
    a quarter of them) that are learned from at no step; a term of fewer than four prompts has none
    to spare, and is evaluated on its own prompts. After `patience` evaluations without
    improvement the learning rate is divided by ten, `reductions` times, and then learning stops.
    The vectors of the best evaluation are the result.

    `retain` is the divergence of the retain term: "paper" is KL(unedited || ablated) averaged over
    positions; "code" is what the released code computes, KL(ablated || unedited) summed over them.
    `begin` "given" begins at the start directions, filled up with random vectors where a cone has
    more dimensions; "random" takes only site and scale from them.

    >>> Settings(steps=20).rows
    8

    Raises:
        InputError: a number outside its range, or an unknown word.
    """

    steps: int = 60
    rows: int = 8
    accumulation: int = 1
    target_tokens: int = 8
    retain_tokens: int = 5
    evaluate_every: int = 5
    evaluation_prompts: int = 8
    patience: int = 5
    reductions: int = 2
    learning_rate: float = 0.01
    weights: Weights = field(default_factory=Weights)
    retain: RetainForm = "paper"
    begin: Begin = "given"
    seed: int = 0

    def __post_init__(self) -> None:
        least = {"retain_tokens": 0, "reductions": 0, "seed": 0}
        for f in fields(self):
            value = getattr(self, f.name)
            if f.type is int and not (type(value) is int and value >= least.get(f.name, 1)):
                raise InputError(
                    f"setting {f.name}={value!r} must be a whole number of at least "
                    f"{least.get(f.name, 1)}"
                )
        if not (isfinite(self.learning_rate) and self.learning_rate > 0):
            raise InputError(f"setting learning_rate={self.learning_rate} must be positive")
        if self.retain not in RETAIN_FORMS:
            raise InputError(f"retain {self.retain!r} is unknown; use one of {list(RETAIN_FORMS)}")
        if self.begin not in BEGINS:
            raise InputError(f"begin {self.begin!r} is unknown; use one of {list(BEGINS)}")
