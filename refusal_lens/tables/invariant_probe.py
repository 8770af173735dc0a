"""ERM, IRM, IB-ERM and IB-IRM side by side, always all four; and each on every environment."""

from refusal_lens.directions import InvariantMethod, InvariantProbe
from refusal_lens.plots.text import number, value_interval, visible
from refusal_lens.tables.table import Cell, Table


def invariant_probe_table(probe: InvariantProbe) -> Table:
    """A row per method: how good it is on environments not seen, and its direction's cosines."""
    head = (
        "method",
        "AUROC, outer environments",
        "gain over ERM",
        "worst environment",
        "oracle AUROC (chosen on the test)",
        "λ, γ, decay of the direction",
        "cos to mean difference",
        "cos to ERM",
        "least cos between seeds",
    )
    n = len(probe.outer)
    caption = (
        f"Probes over {len(probe.environments)} environments at {probe.site}, offset "
        f"{probe.offset}; AUROC on {n} {'of them' if n > 1 else 'of them alone'}, each in no fit "
        "and no choice of the probe that is tested on it (control: chance, 0.50; t intervals over "
        "environments). Cosines are the filter's. "
        + " ".join(f"{_sentence(x)}" for x in probe.notes)
    )
    return Table(caption.strip(), head, tuple(_row(m, probe) for m in probe.methods))


def invariant_environments_table(probe: InvariantProbe) -> Table:
    """A row per outer environment: prompts, and the AUROC of each method there."""
    counts = dict(zip(probe.environments, probe.counts, strict=True))
    rows = tuple(
        (
            Cell(visible(name)),
            Cell(f"{counts[name][0]} + {counts[name][1]}"),
            *(Cell(value_interval(m.auroc[i])) for m in probe.methods),
        )
        for i, name in enumerate(probe.outer)
    )
    caption = (
        "AUROC on each environment of probes fitted and chosen without it (control: chance, 0.50; "
        "jackknife over pairs)."
    )
    methods = tuple(m.method for m in probe.methods)
    return Table(caption, ("environment", "n refuse + comply", *methods), rows)


def _row(m: InvariantMethod, probe: InvariantProbe) -> tuple[Cell, ...]:
    values = [e.value for e in m.auroc if e.value is not None]
    worst = min(range(len(values)), key=values.__getitem__)
    mean = value_interval(m.mean if len(values) > 1 else m.auroc[0])
    texts = (
        m.method,
        mean,
        "reference" if m.method == "ERM" else value_interval(m.gain, 3),
        f"{visible(probe.outer[worst])}: {number(values[worst])}",
        number(sum(m.oracle) / len(m.oracle)),
        f"{m.config.penalty:g}, {m.config.bottleneck:g}, {m.config.decay:g}",
        *(number(x) for x in (m.to_mean_difference, m.to_erm, m.between_seeds)),
    )
    return tuple(Cell(text) for text in texts)


def _sentence(note: str) -> str:
    text = visible(note)
    return f"{text[0].upper()}{text[1:]}."
