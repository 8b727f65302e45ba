"""Builds a report's section on alerts: counts, durations and times to acknowledgement. Pure."""

from typing import Final

from app.platform.kernel.instants import US_PER_S
from app.presentation.local_formatter import LocalFormatter
from app.reports.render.box_names import clean_name
from app.reports.render.page_blocks import ReportSection, ReportTable, TableCell
from app.reports.render.report_texts import WORDS
from app.reports.report_input import AlertStatistics, ReportAlert
from app.reports.report_statistics import ReportStatistics

_SEVERITIES: Final = ("critical", "warning", "info")
_COLOURS: Final = {"critical": "#b91c1c", "warning": "#d97706", "info": "#2563eb"}


def build_alert_section(report: ReportStatistics, formats: LocalFormatter) -> ReportSection:
    """Build the section: counts, severities, durations and times to acknowledge."""
    section = ReportSection("alerts", formats.translate(WORDS["alerts"]))
    found = report.input.alerts
    if found is None:
        section.paragraphs.append(formats.translate(WORDS["alerts_not_shown"]))
        return section
    total = sum(found.by_severity.values())
    if not total:
        section.paragraphs.append(formats.translate(WORDS["alerts_none"]))
    section.points = _points(found, total, formats)
    if total:
        section.tables = [_counts(found, total, formats), _longest(found, report, formats)]
    return section


def _points(found: AlertStatistics, total: int, formats: LocalFormatter) -> list[str]:
    points = [formats.translate(WORDS["alerts_before"]).format(count=formats.number(found.before))]
    if found.went_on:
        points.append(formats.translate(WORDS["alerts_went_on"]).format(count=formats.number(found.went_on)))
    if found.firing:
        points.append(formats.translate(WORDS["alerts_firing"]).format(count=formats.number(found.firing)))
    if found.acknowledged and found.waited_s is not None and found.longest_wait_s is not None:
        points.append(
            formats.translate(WORDS["alerts_acknowledged"]).format(
                count=formats.number(found.acknowledged),
                half=formats.duration(found.waited_s),
                longest=formats.duration(found.longest_wait_s),
            )
        )
    elif total:
        points.append(formats.translate(WORDS["alerts_unacknowledged"]))
    return points


def _counts(found: AlertStatistics, total: int, formats: LocalFormatter) -> ReportTable:
    head = [
        TableCell(formats.translate(WORDS["severity"])),
        TableCell(formats.translate(WORDS["count"]), number=True),
    ]
    rows = [
        [
            TableCell(formats.translate(WORDS[each]), header=True, swatch=_COLOURS[each]),
            TableCell(formats.number(found.by_severity.get(each, 0)), number=True),
        ]
        for each in _SEVERITIES
    ]
    rows.append(
        [
            TableCell(formats.translate(WORDS["total"]), header=True),
            TableCell(formats.number(total), number=True, strong=True),
        ]
    )
    return ReportTable(formats.translate(WORDS["alerts_count"]), head, rows)


def _longest(found: AlertStatistics, report: ReportStatistics, formats: LocalFormatter) -> ReportTable:
    head = [TableCell(formats.translate(WORDS[each])) for each in ("rule", "severity", "box", "began")]
    head.append(TableCell(formats.translate(WORDS["lasted"]), number=True))
    labels = {box.id: box.label for box in report.boxes}
    rows = []
    for alert in found.longest:
        box = (
            formats.translate(WORDS["whole_site"]) if alert.box is None else labels.get(alert.box, alert.box)
        )
        rows.append(
            [
                TableCell(clean_name(alert.rule), header=True),
                TableCell(formats.translate(WORDS[alert.severity]), swatch=_COLOURS.get(alert.severity)),
                TableCell(box),
                TableCell(formats.moment(alert.started_us)),
                TableCell(_lasted(alert, report, formats), number=True),
            ]
        )
    return ReportTable(formats.translate(WORDS["alerts_longest"]), head, rows)


def _lasted(alert: ReportAlert, report: ReportStatistics, formats: LocalFormatter) -> str:
    ended = alert.ended_us or report.input.made_us
    duration = formats.duration((ended - alert.started_us) / US_PER_S)
    return duration if alert.ended_us else formats.translate(WORDS["lasts"]).format(duration=duration)
