"""Records of the geometry stages with the sizes of the planted model, on synthetic numbers."""

from dataclasses import replace
from functools import cache

import torch

from refusal_lens.geometry import (
    BehaviourContrasts,
    Comparison,
    Geometry,
    Separability,
    SharedPool,
    Structure,
    WithinTests,
    compare_to_control,
    fit_structure,
)
from refusal_lens.prompts.files import load_categories
from refusal_lens.records import Provenance
from refusal_lens.sites import Site, block_inputs
from support.paired_residuals import with_differences

LAYERS = 30
LAYER = 13
PAIRS = 8
CATEGORIES = tuple(load_categories())
TITLES = {key: category.title for key, category in load_categories().items()}
PAYLOADS = (
    "<script>alert(1)</script>",
    '<a href="javascript:alert(2)">click</a>',
    "</script><img src=x onerror=alert(3)>",
    "<b>bold</b><br>%{z} $\\href{javascript:alert(4)}{x}$ &lt;i&gt;",
)
HOSTILE = dict(zip(CATEGORIES, PAYLOADS, strict=False))
FROM = Provenance("model", "m", "t", "<|im_start|>system\n", "p", "float32", "cpu", 0)


def geometry(
    categories: tuple[str, ...] = CATEGORIES, seed: int = 0, frame: str = "as they are"
) -> Geometry:
    """Random differences; undefined at layer 0, the last category not measurable before layer 8."""
    generator = torch.Generator().manual_seed(seed)
    k = len(categories)
    base = torch.randn(k, 8, generator=generator) + 0.8
    drift = torch.randn(LAYERS, k, 8, generator=generator) * 0.15
    d = base + drift.cumsum(0)
    unit = d / d.norm(dim=-1, keepdim=True)
    naive = unit @ unit.mT
    depth = torch.linspace(0, 1, LAYERS)[:, None]
    reliability = (0.35 + 0.6 * depth - 0.05 * torch.rand(LAYERS, k, generator=generator)).clip(
        max=0.97
    )
    reliability[:8, -1] = 0.3
    ceiling = (reliability[:, :, None] * reliability[:, None]).sqrt()
    corrected = naive / ceiling.clamp(min=0.4)
    corrected.diagonal(dim1=1, dim2=2).fill_(1.0)
    share = 0.1 + 0.3 * reliability * (1.0 if seed == 0 else 0.5)
    parts = [naive, corrected, corrected - 0.12, corrected + 0.12, ceiling]
    for part in (*parts, length := d.norm(dim=-1) * (1 + 40 * depth), reliability, share):
        part[0] = torch.nan
    n_pairs = 30 * k
    return Geometry(
        categories,
        block_inputs(LAYERS),
        -1,
        (30,) * k,
        tuple(f"{c}-{i}" for c in categories for i in range(30)),
        frame,
        *parts,
        reliability=reliability,
        reliability_low=reliability - 0.1,
        reliability_high=reliability + 0.08,
        length=length,
        share=share,
        influence=0.01 * torch.randn(LAYERS, n_pairs, k, generator=generator),
        share_influence=0.005 * torch.randn(LAYERS, n_pairs, generator=generator),
        provenance=FROM,
    )


def comparison(categories: tuple[str, ...] = CATEGORIES) -> Comparison:
    """A model whose shares are about twice those of its control."""
    return compare_to_control(geometry(categories), geometry(categories, seed=1))


def separability(categories: tuple[str, ...] = CATEGORIES) -> Separability:
    """All but the last two separable; the last one is undefined everywhere."""
    k, offsets = len(categories), (-2, -1)
    z = torch.linspace(0.5, 9, LAYERS).expand(k, 2, LAYERS).clone()
    z[-2] = 0.3
    p_max = torch.where(z > 3, 0.0001, 0.4)
    p = p_max.amin((1, 2))
    q = p * 1.5
    for part in (z, p_max):
        part[:, :, 0] = torch.nan
        part[-1] = torch.nan
    p[-1] = q[-1] = torch.nan
    return Separability(
        categories, block_inputs(LAYERS), offsets, (30,) * k, 9_999, 0, z, p_max, p, q, FROM
    )


@cache
def structure(categories: tuple[str, ...] = CATEGORIES) -> Structure:
    """Fitted to planted means, two groups of categories; no direction at layer 0."""
    generator = torch.Generator().manual_seed(0)
    differences: dict[str, torch.Tensor] = {}
    for i, name in enumerate(categories):
        mean = torch.zeros(16)
        mean[i % 2], mean[2 + i % 14] = 3.0, 1.5
        d = mean + 0.6 * torch.randn(PAIRS, LAYERS, 16, generator=generator)
        d[:, 0] = 0.0
        differences[name] = d.double()
    both = {name: torch.stack([d, d], 1) for name, d in differences.items()}
    whole = with_differences(both, block_inputs(LAYERS), (-2, -1))
    return replace(fit_structure(whole, LAYER), provenance=FROM)


def shared_pool(categories: tuple[str, ...] = CATEGORIES) -> SharedPool:
    """Cosines of .4 with twins, .7 with the pool, of which .1 would be noise besides."""
    k = len(categories)
    matched = torch.full((1, k, k), 0.4)
    matched[:, -1] = matched[:, :, -1] = torch.nan
    pooled = torch.full((1, k, k), 0.7)
    return SharedPool(
        categories, (Site(LAYER),), -1, categories[0], (30,) * k, 30,
        matched, pooled, pooled - 0.1, pooled + 0.1, torch.full((1, k, k), 0.1),
        pooled - matched, FROM,
    )  # fmt: skip


def within(categories: tuple[str, ...] = CATEGORIES) -> WithinTests:
    """Half of the categories differ by what the model did; the last one could not be tested."""
    n = len(categories)
    q = torch.tensor([0.01 if i % 2 else 0.4 for i in range(n - 1)] + [torch.nan])
    z = torch.linspace(0, 5, LAYERS).expand(n, LAYERS).clone()
    z[-1] = torch.nan
    return WithinTests(
        categories,
        block_inputs(LAYERS),
        -1,
        (15,) * n,
        (12,) * (n - 1) + (2,),
        9999,
        0,
        z,
        q,
        q,
        FROM,
    )


def contrasts(names: tuple[str, ...] | None = None) -> BehaviourContrasts:
    """Two of the three contrasts; the second one from one category only."""
    shown = names or ("harmful refused - benign complied", "harmful refused - harmful complied")
    corrected = torch.eye(2).expand(LAYERS, 2, 2).clone()
    corrected[:, 0, 1] = corrected[:, 1, 0] = 0.35
    corrected[0] = torch.nan
    groups = {
        "harmful refused": 52,
        "harmful complied": 48,
        "benign refused": 2,
        "benign complied": 98,
    }
    return BehaviourContrasts(
        shown,
        (CATEGORIES[:4], CATEGORIES[:1]),
        groups,
        block_inputs(LAYERS),
        -1,
        corrected * 0.8,
        corrected,
        corrected - 0.2,
        corrected + 0.2,
        torch.full((LAYERS, 2), 0.8),
        FROM,
    )
