"""Which share of the machine's matrix-multiply rate the forward pass reaches.

Two rates of the same run: torch's own float32 product, and oneDNN's with packed weights, which this
project uses where that is faster (`refusal_lens/model/packed.py`).
"""

from typing import Any, Final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.baselines import Padded, largest_gap, padded_ids, plain_logits
from benchmarks.document import Outcome, Section, Target, compared
from benchmarks.setting import Setting, hugging_face, lens
from benchmarks.timing import Ratio, Task, Timing, ratio, take_turns
from refusal_lens.model import LensModel
from refusal_lens.model.packed import PackedLinear

PACKED, UNPACKED, HF = "packed", "`Placement(packed=False)`", "Hugging Face"
TORCH_RATE, PACKED_RATE = "torch's float32 product", "oneDNN's packed product"
TORCH_SHAPES, PACKED_SHAPES = (
    f"{TORCH_RATE}, the model's shapes",
    f"{PACKED_RATE}, the model's shapes",
)
SHARE: Final = Target(0.6, at_least=True)
SQUARE: Final = 2048


def measure(setting: Setting) -> Section:
    """Each model at two lengths of prompts."""
    outcomes: list[Outcome] = []
    lines = ["| model, tokens per row | way | GFLOP per second |", "|---|---|---|"]
    for source in dict.fromkeys(setting.sources):
        for n_rows, length in ((setting.size(32, 2), 44), (setting.size(4, 2), 256)):
            batch = random_rows(lens(source), n_rows, length)
            flops, timings = timed(setting, source, batch)
            name = f"{source}, {n_rows} rows of {length} tokens"
            outcomes += shares(name, flops, timings)
            ours = timings[PACKED]
            outcomes += [
                compared(
                    f"forward pass, {name}",
                    ours,
                    (other, timings[other]),
                    gap=largest_gap(ours.result, timings[other].result),
                )
                for other in (UNPACKED, HF)
            ]
            for way, rate in rates(flops, timings).items():
                lines.append(f"| {name} | {way} | {rate:,.0f} |")
    return Section(
        "Forward pass",
        "Whole passes of random tokens without the shared prefix, logits at the last position "
        "(Hugging Face: of every position, as it gives them). Operations are those of the linear "
        "layers and of attention as computed, the whole square. A share is the rate of the pass "
        "divided by that of a matrix product in the same turn: square ones of "
        f"{SQUARE} x {SQUARE}, or those of the model's own linear layers. Norms, rotations and the "
        f"activation function count as time and not as work. {setting.turns} turns.",
        outcomes,
        notes="\n".join(lines),
    )


def random_rows(model: LensModel, n_rows: int, length: int) -> Padded:
    """Rows of random tokens of one length."""
    generator = torch.Generator().manual_seed(0)
    highest = min(200, len(model.chat.tokenizer))
    ids = torch.randint(3, highest, (n_rows, length), generator=generator)
    return padded_ids(ids.tolist(), n_rows)[0]


def timed(
    setting: Setting, source: str, batch: Padded
) -> tuple[dict[str, float], dict[str, Timing]]:
    """Operations and seconds of each pass and each product."""
    hf = hugging_face(source)
    tasks: dict[str, Task] = {
        PACKED: lambda: last_logits(lens(source), batch),
        UNPACKED: lambda: last_logits(lens(source, packed=False), batch),
        HF: lambda: plain_logits(hf, [batch]),
    }
    n_tokens = batch.ids.numel()
    whole, last = pass_flops(hf.model, *batch.ids.shape)
    flops = {PACKED: last, UNPACKED: last, HF: whole}
    shapes = [tuple(x.weight.shape) for x in linears(hf.model)]
    side = setting.size(SQUARE, 64)
    for name, packed, products in (
        (TORCH_RATE, False, [(side, side, side)] * 4),
        (PACKED_RATE, True, [(side, side, side)] * 4),
        (TORCH_SHAPES, False, [(n_tokens, n_in, n_out) for n_out, n_in in shapes]),
        (PACKED_SHAPES, True, [(n_tokens, n_in, n_out) for n_out, n_in in shapes]),
    ):
        tasks[name] = product_task(products, packed)
        flops[name] = float(sum(2 * m * k * n for m, k, n in products))
    for name in (PACKED, UNPACKED, PACKED_RATE, PACKED_SHAPES):  # weights are packed at first use
        tasks[name]()
    return flops, take_turns(tasks, setting.turns)


def linears(model: nn.Module) -> list[nn.Linear]:
    """Linear layers of the blocks, without the unembedding."""
    return [
        layer
        for name, layer in model.named_modules()
        if type(layer) is nn.Linear and not name.endswith("lm_head")
    ]


def pass_flops(model: Any, n_rows: int, length: int) -> tuple[float, float]:
    """Operations of a pass with the logits of every position, and of the last one alone."""
    config = model.config
    width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    blocks = 2.0 * n_rows * length * sum(layer.weight.numel() for layer in linears(model))
    attention = 4.0 * n_rows * length**2 * width * config.num_attention_heads
    attention *= config.num_hidden_layers
    unembedding = 2.0 * config.vocab_size * config.hidden_size * n_rows
    return blocks + attention + unembedding * length, blocks + attention + unembedding


@torch.inference_mode()
def last_logits(model: LensModel, batch: Padded) -> Tensor:
    """Logits at the last position, from a whole pass without the shared prefix."""
    return model.backend.forward(batch.ids, batch.mask).logits[:, -1].clone()


def product_task(products: list[tuple[int, int, int]], packed: bool) -> Task:
    """One matrix product after the other, [m, k] by [k, n]; equal shapes share their matrices."""
    distinct: dict[tuple[int, int, int], tuple[Tensor, Tensor, PackedLinear]] = {}
    for m, k, n in dict.fromkeys(products):
        layer = nn.Linear(k, n, bias=False)
        distinct[m, k, n] = (torch.randn(m, k), layer.weight.detach(), PackedLinear(layer))

    @torch.no_grad()
    def task() -> None:
        for shape in products:
            x, weight, product = distinct[shape]
            _ = product(x) if packed else F.linear(x, weight)

    return task


def shares(name: str, flops: dict[str, float], timings: dict[str, Timing]) -> list[Outcome]:
    """The rate of our pass divided by that of each product, in wall and in CPU seconds."""

    def share(product: str, wall: bool) -> Ratio:
        times = [t.wall if wall else t.cpu for t in (timings[product], timings[PACKED])]
        per_turn = ratio(*times)
        factor = flops[PACKED] / flops[product]
        return Ratio(per_turn.median * factor, per_turn.low * factor, per_turn.high * factor)

    targets = {TORCH_RATE: SHARE, PACKED_RATE: SHARE, TORCH_SHAPES: None, PACKED_SHAPES: None}
    return [
        Outcome(
            f"rate of the pass, {name}",
            f"rate of {product}",
            share(product, True),
            share(product, False),
            "",
            target,
        )
        for product, target in targets.items()
    ]


def rates(flops: dict[str, float], timings: dict[str, Timing]) -> dict[str, float]:
    """GFLOP per second of each, from its fastest turn."""
    return {name: flops[name] / min(timings[name].wall) / 1e9 for name in timings}
