"""Records of the attribution stages with the layers of the planted model, on synthetic numbers."""

from dataclasses import replace

import torch

from refusal_lens.attribution import (
    AttributionPatch,
    Component,
    Cuts,
    Decomposition,
    DepthProfile,
    HeadPath,
    HeadSources,
    KnockOut,
    NeuronShares,
    PatchMap,
    PatchSite,
    Placebo,
    PromotedTokens,
    Target,
    component_matrix,
    depth_profile,
    patch_agreement,
    source_regions,
    stream_sites,
    writer_sites,
)
from refusal_lens.attribution.logit_lens import LensProfile
from refusal_lens.attribution.probe import ProbeProfile
from refusal_lens.geometry import matrix_correlation
from refusal_lens.records import Record
from refusal_lens.selection import LayerCurve
from refusal_lens.sites import Site
from support.synthetic.geometry import CATEGORIES, FROM, LAYER, LAYERS, PAYLOADS
from support.synthetic.records import candidates, token_map

HEADS = 4
OFFSETS = (-3, -2, -1)
PAIRS = 4


def components() -> tuple[Component, ...]:
    parts = [Component(-1, "embedding")]
    for layer in range(LAYERS):
        parts += [Component(layer, "head", h) for h in range(HEADS)] + [Component(layer, "MLP")]
    return tuple(parts)


def decomposition(categories: tuple[str, ...] = CATEGORIES, seed: int = 0) -> Decomposition:
    """Later layers write more; what writes after the layer is NaN; 2e-6 is left over."""
    generator = torch.Generator().manual_seed(seed)
    parts, k = components(), len(categories)
    depth = torch.tensor([(c.layer + 1) / LAYERS for c in parts], dtype=torch.float64)
    mean = torch.randn(k, k, 2, len(parts), generator=generator, dtype=torch.float64) * depth
    mean[:, :, 0] += 1.5 * depth
    late = torch.tensor([c.layer >= LAYER for c in parts])
    mean[..., late] = torch.nan
    return Decomposition(
        targets=tuple(Target(c, Site(LAYER), -1, 10.0) for c in categories),
        categories=categories,
        components=parts,
        mean=mean,
        error=torch.full((k, k, len(parts)), 0.1, dtype=torch.float64),
        total=mean.nansum(-1) + torch.tensor([2e-6, 0.0], dtype=torch.float64),
        count=torch.full((k, 2), 30),
        n_pairs=torch.full((k,), 30),
        worst=1e-7,
        provenance=FROM,
    )


def patched(
    categories: tuple[str, ...] = CATEGORIES, tokens: tuple[str, ...] = ("<|im_end|>", "ass", "\n")
) -> tuple[PatchMap, AttributionPatch]:
    """Recovery grows with depth at the last token; the last category's pairs have no gap."""
    sites = (*writer_sites(range(LAYERS)), *stream_sites(range(1, LAYERS, 4), OFFSETS))
    rows = tuple(c for c in categories for _ in range(PAIRS))
    generator = torch.Generator().manual_seed(0)
    corrupt = torch.randn(len(rows), generator=generator) * 0.2 - 5
    clean = corrupt + 6
    clean[-PAIRS:] = corrupt[-PAIRS:] + 0.5
    share = torch.tensor([s.layer / LAYERS if s.offset in (-1, None) else 0.0 for s in sites])
    noise = 0.05 * torch.randn(len(rows), len(sites), generator=generator)
    change = (share + noise) * (clean - corrupt)[:, None]
    placebo = corrupt[:, None] + noise
    placebo[1::2] = torch.nan
    names = tuple(f"pair {i}" for i in range(len(rows)))
    alignment = ("equal length: each position is compared with the same one of the twin",)
    real = PatchMap(
        sites,
        OFFSETS,
        tokens,
        names,
        rows,
        alignment * len(rows),
        ("first token",) * len(rows),
        corrupt[:, None] + change,
        placebo,
        clean,
        corrupt,
        Placebo(),
        FROM,
    )
    heads = tuple(PatchSite("head", n, None, h) for n in range(LAYERS) for h in range(HEADS))
    estimate = torch.cat([0.1 * torch.randn(len(rows), len(heads), generator=generator), change], 1)
    fast = AttributionPatch(
        (*heads, *sites), OFFSETS, names, rows, real.alignment, estimate, clean, corrupt, FROM
    )
    return real, fast


def knock_out(category: str = CATEGORIES[0]) -> KnockOut:
    order = decomposition((category,)).attribution(category).writers()
    counts = (0, 1, 2, 4)
    fall = torch.tensor([9.0, 5.0, 2.0, -1.0])[:, None] + 0.1 * torch.arange(6)
    return KnockOut(
        Target(category, Site(LAYER), -1, 10.0),
        category,
        Cuts(counts),
        order,
        tuple(f"p{i}" for i in range(6)),
        fall,
        fall - 4,
        torch.full((3, 4, 6), 9.0),
        torch.full((3, 4, 6), 5.0),
        -2.0,
        -6.0,
        "first token",
        FROM,
    )


def head_path(head: Component, category: str = CATEGORIES[0]) -> HeadPath:
    """One unit a pair directly and two through L9's MLP; the placebo moves a tenth as much."""
    parts = components()
    change = torch.zeros(PAIRS, len(parts), dtype=torch.float64)
    change[:, parts.index(head)] = 1.0 + 0.1 * torch.arange(PAIRS)
    change[:, parts.index(Component(9, "MLP"))] = 2.0
    return HeadPath(
        head,
        Target(category, Site(LAYER), -1, 10.0),
        parts,
        tuple(f"pair {i}" for i in range(PAIRS)),
        ("equal length",) * PAIRS,
        change,
        change / 10,
        change.sum(1),
        change.sum(1) / 10,
        1e-7,
        Placebo(PAIRS, 0),
        FROM,
    )


def followed(category: str = CATEGORIES[0], text: str = "") -> dict[str, Record]:
    """Two heads; the first reads the third of four tokens, on the refuse side only."""
    target = Target(category, Site(LAYER), -1, 10.0)
    heads = (Component(7, "head", 2), Component(8, "head", 0))
    scores = torch.tensor([[0.1, 0.2, 3.0, 0.0], [0.0, 0.5, 0.5, 0.0]], dtype=torch.float64)
    tokens = ("<|im_start|>", "Why", text or "!", "<|im_end|>")
    asked = text or "Why!"
    refuse = HeadSources(asked, target, heads, (-4, -3, -2, -1), tokens, scores, 1e-7, FROM)
    twin = replace(refuse, prompt="Why?", scores=torch.zeros_like(scores))
    regions = source_regions(
        [refuse, refuse], [twin, twin], heads, category=category, template=(1, 1)
    )
    sizes = torch.tensor([3.0, -1.0], dtype=torch.float64)
    shares = NeuronShares(
        target, category, 9, (11, 5), sizes, sizes - 0.5, sizes + 0.5, 4.0, 2.0, 48, 10, FROM
    )
    paths = {f"path_{i}": head_path(h, category) for i, h in enumerate(heads)}
    both = {"sources": refuse, "sources_twin": twin, "regions": regions, "neurons_0": shares}
    return paths | both


def profiles(
    categories: tuple[str, ...] = CATEGORIES, token: str = " sorry"
) -> tuple[DepthProfile, ...]:
    k, layers = len(categories), tuple(range(1, LAYERS, 3))
    probe = ProbeProfile(
        layers,
        -1,
        categories,
        torch.full((k,), 20),
        torch.full((len(layers), k), 17),
        torch.full((len(layers), k), 15),
        torch.full((len(layers), k), 10),
        0.01,
        FROM,
    )
    mean = torch.linspace(-9, 1, LAYERS + 1)[:, None, None].expand(-1, k, 2).clone()
    count = torch.full((k, 2), 10)
    lens = LensProfile(
        tuple(range(LAYERS + 1)), categories, mean, mean - 0.5, mean + 0.5, count, FROM
    )
    whole = decomposition(categories)
    promoted = PromotedTokens((token, " no"), (6.1, 5.0), (" Sure",), (-4.0,), 4.4, 32)
    return tuple(
        depth_profile(
            c,
            probe=probe,
            lens=lens,
            attribution=whole.attribution(c),
            promoted=promoted,
            steering=LayerCurve("pooled", candidates()),
        )
        for c in categories
    )


def stages(
    categories: tuple[str, ...] = CATEGORIES, text: str = ""
) -> dict[str, dict[str, Record]]:
    """Every record of attribution; `text` stands in each place where a model's words do."""
    whole = decomposition(categories)
    matrix = component_matrix([whole.attribution(c) for c in categories])
    real, fast = patched(categories, (text or "a", "b", "c"))
    among = replace(fast, sites=real.sites, estimate=fast.estimate[:, -len(real.sites) :])
    shown = token_map(text) if text else token_map()
    answered = replace(shown, positions=tuple(p + 2 for p in shown.positions))
    depths = profiles(categories, text or " sorry")
    return {
        "attribution": {
            "decomposition": whole,
            "matrix": matrix,
            "correlation": matrix_correlation(matrix.similarity, matrix.similarity),
        },
        "attribution_control": {"decomposition": decomposition(categories, 1)},
        "patching": {"patches": real, "fast": fast, "agreement": patch_agreement(among, real)},
        "knock_out_0": {"curve": knock_out(categories[0])},
        "paths_0": followed(categories[0], text),
        "depth": {f"profile_{i}": p for i, p in enumerate(depths)},
        "answer_map_0": {
            f"map_{i}": replace(answered, category=c) for i, c in enumerate(categories[:3])
        },
    }


def hostile() -> dict[str, dict[str, Record]]:
    """The same with markup in names and tokens."""
    names = tuple(f"{p} {i}" for i, p in enumerate(PAYLOADS))
    return stages(names, " ".join(PAYLOADS))
