"""Sites: the named hook points of the residual stream and of what writes to it."""

import re
from dataclasses import dataclass
from typing import Final, Literal, cast, final, get_args

from refusal_lens.errors import InputError

ActivationName = Literal["resid_pre", "attn_out", "resid_mid", "mlp_out", "resid_post"]
POINTS: Final[tuple[str, ...]] = get_args(ActivationName)

_TEXT: Final = re.compile(r"(?:blocks\.(?P<a>\d+)\.hook_(?P<p>\w+)|(?P<q>\w+)\[(?P<b>\d+)\])")


@final
@dataclass(frozen=True, order=True)
class Site:
    """One hook point of one layer; `Site(15, "resid_pre")` is the input of block 15.

    `resid_pre[l]` is what Arditi et al. 2024 and Joad et al. 2026 call layer l, and equals
    `hidden_states[l]` of Hugging Face; `resid_post[l]` is one layer later.

    >>> rl.Site(15).hook_name
    'blocks.15.hook_resid_pre'
    >>> rl.Site.parse("attn_out[3]")
    Site(layer=3, point='attn_out')
    """

    layer: int
    point: ActivationName = "resid_pre"

    def __post_init__(self) -> None:
        if self.layer < 0:
            raise InputError(f"layer {self.layer} is negative; layers count from 0")
        _check_point(self.point)

    @property
    def hook_name(self) -> str:
        """TransformerLens' name of the hook point."""
        return f"blocks.{self.layer}.hook_{self.point}"

    @property
    def writable(self) -> bool:
        """Whether an edit returned here reaches the whole residual stream.

        A tensor returned at `hook_resid_mid` reaches only the MLP branch: write `attn_out`.
        """
        return self.point != "resid_mid"

    @property
    def vector_of_stream(self) -> tuple[int, str]:
        """Key that two sites share when they are the same vector of the stream.

        `resid_post[l]` and `resid_pre[l + 1]` are one vector, so adding at both adds twice.
        """
        if self.point == "resid_post":
            return self.layer + 1, "resid_pre"
        return self.layer, self.point

    def __str__(self) -> str:
        return f"{self.point}[{self.layer}]"

    @classmethod
    def parse(cls, text: str) -> "Site":
        """Read `resid_pre[15]` or `blocks.15.hook_resid_pre`.

        >>> rl.Site.parse("blocks.15.hook_resid_pre")
        Site(layer=15, point='resid_pre')

        Raises:
            InputError: another form, or a point that is not one of `POINTS`.
        """
        match = _TEXT.fullmatch(text.strip())
        if match is None:
            raise InputError(f"site {text!r} is not of the form 'resid_pre[15]'")
        point = match["p"] or match["q"]
        _check_point(point)
        return cls(int(match["a"] or match["b"]), cast(ActivationName, point))


def _check_point(point: str) -> None:
    if point not in POINTS:
        raise InputError(f"hook point {point!r} is unknown; use one of {list(POINTS)}")


def block_inputs(n_layers: int) -> tuple[Site, ...]:
    """The stream at every layer: `resid_pre[0] .. resid_pre[n_layers - 1]`."""
    return tuple(Site(layer) for layer in range(n_layers))


def block_output(layer: int) -> Site:
    """The output of block `layer`, named as the input of the next block: `resid_pre[layer + 1]`.

    What papers that read block outputs (SOM directions, CAST) call layer l; of the last block, no
    block's input, the output is `Site(layer, "resid_post")`.

    >>> block_output(14)
    Site(layer=15, point='resid_pre')
    """
    return Site(layer + 1)


def stream_writes(n_layers: int) -> tuple[Site, ...]:
    """Arditi's three places a block, at every layer: its input and both of its writers.

    Ablating a direction at all of them keeps it out of the whole stream.
    """
    points: tuple[ActivationName, ...] = ("resid_pre", "attn_out", "mlp_out")
    return tuple(Site(layer, point) for layer in range(n_layers) for point in points)
