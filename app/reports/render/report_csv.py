"""Writes the measurements of a report as CSV (RFC 4180): by hour for a day, else by day. Pure.

The columns and numbers are for programs and spreadsheets, whatever the language: English names, decimal
points. Boxes have their ids, not the names that clients chose: a spreadsheet could take those for formulas.
"""

import csv
import io
from collections.abc import Iterator

from app.catalogue.metrics import METRICS_BY_NAME
from app.environmental_indices.period_selection import TimePeriod
from app.platform.kernel.instants import HOUR_US, to_datetime
from app.reports.report_input import CSV_COLUMNS, REPORTED_METRICS, ReportInput
from app.reports.report_statistics import (
    BoxFigures,
    ReportStatistics,
    compute_metric_statistics,
    compute_report_statistics,
)


def render_report_csv(report_input: ReportInput) -> str:
    """Render the measurements of a report; intervals without values have no row."""
    report = compute_report_statistics(report_input)
    written = io.StringIO()
    table = csv.writer(written)
    table.writerow(CSV_COLUMNS)
    intervals = list(_intervals(report))
    for box in report.boxes:
        for metric in REPORTED_METRICS:
            if metric in box.hours:
                table.writerows(_rows(report, box, metric, intervals))
    return written.getvalue()


def _intervals(report: ReportStatistics) -> Iterator[TimePeriod]:
    if not report.is_day:
        yield from (day.period for day in report.days)
        return
    for start_us in report.slot.period.hours():
        yield TimePeriod(start_us, start_us + HOUR_US)


def _rows(
    report: ReportStatistics, box: BoxFigures, metric: str, intervals: list[TimePeriod]
) -> Iterator[tuple[object, ...]]:
    unit = METRICS_BY_NAME[metric].unit
    for interval in intervals:
        found = compute_metric_statistics(box.hours[metric], metric, box.interval_s, interval)
        if found is None:
            continue
        bounds = (to_datetime(at_us).astimezone(report.zone).isoformat() for at_us in interval)
        values = (f"{value:.4g}" for value in (found.mean, found.low, found.high))
        yield (box.id, metric, unit, *bounds, *values, found.count, f"{found.coverage:.1f}")
