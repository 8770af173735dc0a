"""A detector of suppressed refusal that reads the residual stream while a model answers.

`fit_monitor` makes a `Monitor`, `monitor.watch` is a loop around generation, `try_monitor`
measures one on edited variants of its model.
"""

from refusal_lens.monitor.fit import MonitorSettings as MonitorSettings
from refusal_lens.monitor.fit import fit_monitor as fit_monitor
from refusal_lens.monitor.measure import MonitorTrial as MonitorTrial
from refusal_lens.monitor.measure import try_monitor as try_monitor
from refusal_lens.monitor.monitor import Monitor as Monitor
from refusal_lens.monitor.monitor import WatchedStep as WatchedStep
from refusal_lens.monitor.variants import Variant as Variant
from refusal_lens.monitor.variants import monitor_variants as monitor_variants
