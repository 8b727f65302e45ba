"""Builds a report's sections on data quality, on how to read the report, and on methods. Pure."""

from typing import Final

from app.environmental_indices.index_definitions import INDEX_DEFINITIONS
from app.environmental_indices.index_results import IndexMethod
from app.environmental_indices.noise_levels import DAY_PARTS
from app.presentation.local_formatter import LocalFormatter
from app.presentation.translation import BilingualText
from app.presentation.typography import typeset_text
from app.reports.render.main_findings import WHO_METHODS, compute_coverage
from app.reports.render.page_blocks import ReportSection, ReportTable, TableCell
from app.reports.render.report_texts import CITATIONS_FR, COVERAGES_FR, WORDS
from app.reports.report_statistics import ReportStatistics, count_silent_hours

_ROWS: Final = 10
_READ: Final = ("day", "measured", "worst", "decibels", "alerts", "sensors")


def build_quality_section(report: ReportStatistics, formats: LocalFormatter) -> ReportSection:
    """Build the section on data quality: coverage, silent boxes, gaps and flags."""
    section = ReportSection("quality", formats.translate(WORDS["quality"]))
    if not report.boxes:
        section.paragraphs.append(formats.translate(WORDS["short_no_boxes"]))
        return section
    section.points.append(
        formats.translate(WORDS["quality_coverage"]).format(
            coverage=formats.percent(compute_coverage(report))
        )
    )
    silent = [box.label for box in report.boxes if not box.now]
    if silent:
        names = silent[:_ROWS]
        if len(silent) > _ROWS:
            names.append(formats.translate(WORDS["more_boxes"]).format(count=len(silent) - _ROWS))
        section.points.append(formats.translate(WORDS["quality_silent"]).format(boxes=", ".join(names)))
    gaps = _gaps(report, formats)
    if gaps is not None:
        section.tables.append(gaps)
    elif report.measured:
        section.points.append(formats.translate(WORDS["quality_no_gaps"]))
    _flags(section, report, formats)
    return section


def _gaps(report: ReportStatistics, formats: LocalFormatter) -> ReportTable | None:
    """Build the table of boxes with hours without values, those with the most first."""
    found = [(box, *count_silent_hours(box, report.slot.period)) for box in report.measured]
    found = sorted((each for each in found if each[1]), key=lambda each: -each[1])
    if not found:
        return None
    head = [TableCell(formats.translate(WORDS["box"]))]
    head += [TableCell(formats.translate(WORDS[each]), number=True) for each in ("gap_total", "gap_longest")]
    rows = [
        [
            TableCell(box.label, header=True),
            TableCell(formats.number(total), number=True),
            TableCell(formats.number(longest), number=True),
        ]
        for box, total, longest in found[:_ROWS]
    ]
    more = len(found) - _ROWS
    hours = formats.number(len(report.slot.period.hours()))
    caption = formats.translate(WORDS["quality_gaps"]).format(hours=hours)
    note = formats.translate(WORDS["more_boxes"]).format(count=more) if more > 0 else ""
    return ReportTable(caption, head, rows, note=note)


def _flags(section: ReportSection, report: ReportStatistics, formats: LocalFormatter) -> None:
    flags = report.input.flags
    if flags is None:
        section.points.append(formats.translate(WORDS["quality_flags_left_out"]))
        return
    samples = formats.number(flags.samples)
    if not flags.samples:
        return
    if not any(flags.flags.values()):
        section.points.append(formats.translate(WORDS["quality_no_flags"]).format(samples=samples))
        return
    head = [TableCell(formats.translate(WORDS["flag"]))]
    head += [TableCell(formats.translate(WORDS[each]), number=True) for each in ("count", "share")]
    rows = [
        [
            TableCell(formats.translate(WORDS[flag]), header=True),
            TableCell(formats.number(count), number=True),
            TableCell(formats.percent(100.0 * count / flags.samples), number=True),
        ]
        for flag, count in flags.flags.items()
        if count
    ]
    caption = formats.translate(WORDS["quality_flags"]).format(samples=samples)
    section.tables.append(
        ReportTable(caption, head, rows, note=formats.translate(WORDS["quality_flagged_included"]))
    )


def build_reading_section(report: ReportStatistics, formats: LocalFormatter) -> ReportSection:
    """Build the section on how to read the report."""
    section = ReportSection("reading", formats.translate(WORDS["reading"]))
    begin = DAY_PARTS.get(report.input.country, DAY_PARTS["EU"])[0].begin.hour
    section.terms = [
        (
            formats.translate(WORDS[f"read_{each}"]),
            [formats.translate(WORDS[f"read_{each}_text"]).format(begin=begin)],
        )
        for each in _READ
    ]
    return section


def build_methods_section(report: ReportStatistics, formats: LocalFormatter) -> ReportSection:
    """Build the section on the methods in use: version, required coverage, source and notes."""
    section = ReportSection("methods", formats.translate(WORDS["methods"]))
    used = dict.fromkeys(name for name, _ in report.values)
    for name in used:
        method = INDEX_DEFINITIONS[name].method
        section.terms.append((formats.translate(method.title), _of_method(method, report, formats)))
    if not used:
        section.paragraphs.append(formats.translate(WORDS["no_methods"]))
    return section


def _cited(source: BilingualText, formats: LocalFormatter) -> str:
    """Format a source. Titles that are not translated keep their English typography."""
    return formats.translate(source) if source.en != source.fr else typeset_text(source.en, "en")


def _of_method(method: IndexMethod, report: ReportStatistics, formats: LocalFormatter) -> list[str]:
    # Coverage rules and sources are translated here, because they are not in `WORDS`.
    rule = formats.translate(BilingualText(method.coverage, COVERAGES_FR[method.name]))
    document = method.citation.document
    source = BilingualText(document, CITATIONS_FR.get(document, document))
    parts = [
        formats.translate(WORDS["method_version"]).format(name=method.name, version=method.version),
        formats.translate(WORDS["method_coverage"]).format(rule=rule),
        formats.translate(WORDS["method_source"]).format(source=_cited(source, formats))
        + (f" <{method.citation.url}>" if method.citation.url else ""),
    ]
    if method.citation.status == "unverified":
        parts.append(formats.translate(WORDS["unverified"]))
    if method.name in WHO_METHODS:
        parts.append(formats.translate(WORDS["who_percentile"]))
    result_notes = [
        note
        for (name, _), values in report.values.items()
        if name == method.name
        for value in values
        for note in value.result.notes
    ]
    return [*parts, *(formats.translate(note) for note in dict.fromkeys([*method.notes, *result_notes]))]
