"""The boxes' means of the period beside those of the one before it. Pure.

Owns which boxes are compared: those that measured enough of both, so that a change is one of the place and
not of what was measured there.
"""

from dataclasses import dataclass

import numpy as np

from app.catalogue.metrics import METRICS_BY_NAME
from app.reports.render.report_statistics import MIN_COVERAGE_PERCENT, ReportStatistics
from app.reports.report_input import REPORTED_METRICS


@dataclass(frozen=True, slots=True)
class MeanComparison:
    """The mean of some boxes in both periods; `percent` where a quantity has a natural nought."""

    metric: str
    boxes: int
    now: float
    before: float
    percent: float | None

    @property
    def change(self) -> float:
        """From the period before to this one."""
        return self.now - self.before


def compare_period_means(report: ReportStatistics) -> list[MeanComparison]:
    """Each metric that some box measured enough of in both periods."""
    found: list[MeanComparison] = []
    for metric in REPORTED_METRICS:
        pairs = [
            (box.now[metric].mean, box.before[metric].mean)
            for box in report.boxes
            if metric in box.now
            and metric in box.before
            and min(box.now[metric].coverage, box.before[metric].coverage) >= MIN_COVERAGE_PERCENT
        ]
        if pairs:
            now, before = (_mean(metric, [pair[side] for pair in pairs]) for side in (0, 1))
            # A level is a logarithm, a temperature has no natural nought, a share is a percentage already.
            natural = METRICS_BY_NAME[metric].kind == "gauge" and METRICS_BY_NAME[metric].minimum >= 0
            shares = natural and METRICS_BY_NAME[metric].unit != "%RH" and before > 0
            percent = 100.0 * (now - before) / before if shares else None
            found.append(MeanComparison(metric, len(pairs), now, before, percent))
    return found


def _mean(metric: str, values: list[float]) -> float:
    """The mean of boxes, each weighing the same; of levels that of their energies."""
    if len(values) == 1:
        return values[0]
    if METRICS_BY_NAME[metric].kind == "level":
        return float(10.0 * np.log10(np.mean(10.0 ** (np.array(values) / 10.0))))
    return float(np.mean(values))
