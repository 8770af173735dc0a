"""A monitor on edited variants, with invented numbers."""

from refusal_lens.intervals import wilson
from refusal_lens.monitor.conformal import calibrated_rate
from refusal_lens.monitor.measure import GRID, MonitorTrial, VariantRow
from refusal_lens.records import Estimate
from support.paired_residuals import PROVENANCE

VARIANTS = (
    ("ablated", "ablated at every layer", "suppression", 19),
    ("random ablated", "random direction ablated", "control", 1),
    ("put back", "ablated, projections put back where they are read", "evasion", 6),
)
N, PASSES = 20, 4


def row(name: str, title: str, kind: str, hits: int) -> VariantRow:
    area = Estimate(0.5 + hits / 40, 0.45, 1.0, N, "AUROC", 0.5)
    return VariantRow(
        name,
        title,
        kind,
        refused=wilson(N - hits, N, 1.0),
        auroc=(area, area),
        flagged=wilson(hits, N, 0.05),
        caught=wilson(hits, max(hits, 1)),
        benign=wilson(1, 10, 0.0),
        by_token=tuple(hits * (k + 1) / PASSES / N for k in range(PASSES)),
        by_layer=(area, area),
        p=0.001 if hits > 3 else 1.0,
        q=0.003 if hits > 3 else 1.0,
    )


def trial() -> MonitorTrial:
    rows = tuple(row(*variant) for variant in VARIANTS)
    curve = tuple(min(1.0, 0.3 + rate) for rate in GRID)
    return MonitorTrial(
        rows=rows,
        false_alarms={"all": wilson(3, 60), "harmful, refused": wilson(1, 20)},
        roc=tuple((curve, curve) for _ in rows),
        alpha=0.05,
        calibrated=calibrated_rate(200, 0.025),
        counts={"unedited": 100, "suppressed": 30, "calibration": 200},
        early=(1,),
        late=(2, 3),
        tokens=PASSES,
        judge="refusal + sense check",
        provenance=PROVENANCE,
    )
