"""The sections on the data: how much there is, what is odd about it, how to read it, its methods. Pure."""

from typing import Final

from app.indicators.index_definitions import FIGURES
from app.indicators.index_results import Method, Text
from app.indicators.noise_levels import PARTS
from app.reports.render.main_findings import WHO, coverage_of
from app.reports.render.number_formats import Formats, typeset
from app.reports.render.page_blocks import Cell, Section, Table
from app.reports.render.report_statistics import Computed, silent_hours
from app.reports.render.report_texts import CITATIONS_FR, COVERAGES_FR, WORDS

_ROWS: Final = 10
_READ: Final = ("day", "measured", "worst", "decibels", "alerts", "sensors")


def quality(report: Computed, formats: Formats) -> Section:
    """How much was measured, which boxes were silent, and how many values have flags."""
    section = Section("quality", formats.said(WORDS["quality"]))
    if not report.boxes:
        section.paragraphs.append(formats.said(WORDS["short_no_boxes"]))
        return section
    section.points.append(
        formats.said(WORDS["quality_coverage"]).format(coverage=formats.percent(coverage_of(report)))
    )
    silent = [box.label for box in report.boxes if not box.now]
    if silent:
        names = silent[:_ROWS]
        if len(silent) > _ROWS:
            names.append(formats.said(WORDS["more_boxes"]).format(count=len(silent) - _ROWS))
        section.points.append(formats.said(WORDS["quality_silent"]).format(boxes=", ".join(names)))
    gaps = _gaps(report, formats)
    if gaps is not None:
        section.tables.append(gaps)
    elif report.measured:
        section.points.append(formats.said(WORDS["quality_no_gaps"]))
    _flags(section, report, formats)
    return section


def _gaps(report: Computed, formats: Formats) -> Table | None:
    """The boxes with hours without any value, those with the most of them first."""
    found = [(box, *silent_hours(box, report.slot.period)) for box in report.measured]
    found = sorted((each for each in found if each[1]), key=lambda each: -each[1])
    if not found:
        return None
    head = [Cell(formats.said(WORDS["box"]))]
    head += [Cell(formats.said(WORDS[each]), number=True) for each in ("gap_total", "gap_longest")]
    rows = [
        [
            Cell(box.label, header=True),
            Cell(formats.number(total), number=True),
            Cell(formats.number(longest), number=True),
        ]
        for box, total, longest in found[:_ROWS]
    ]
    more = len(found) - _ROWS
    hours = formats.number(len(report.slot.period.hours()))
    caption = formats.said(WORDS["quality_gaps"]).format(hours=hours)
    note = formats.said(WORDS["more_boxes"]).format(count=more) if more > 0 else ""
    return Table(caption, head, rows, note=note)


def _flags(section: Section, report: Computed, formats: Formats) -> None:
    flags = report.material.flags
    if flags is None:
        section.points.append(formats.said(WORDS["quality_flags_left_out"]))
        return
    samples = formats.number(flags.samples)
    if not flags.samples:
        return
    if not any(flags.flags.values()):
        section.points.append(formats.said(WORDS["quality_no_flags"]).format(samples=samples))
        return
    head = [Cell(formats.said(WORDS["flag"]))]
    head += [Cell(formats.said(WORDS[each]), number=True) for each in ("count", "share")]
    rows = [
        [
            Cell(formats.said(WORDS[flag]), header=True),
            Cell(formats.number(count), number=True),
            Cell(formats.percent(100.0 * count / flags.samples), number=True),
        ]
        for flag, count in flags.flags.items()
        if count
    ]
    caption = formats.said(WORDS["quality_flags"]).format(samples=samples)
    section.tables.append(Table(caption, head, rows, note=formats.said(WORDS["quality_kept"])))


def reading(report: Computed, formats: Formats) -> Section:
    """How to read the report."""
    section = Section("reading", formats.said(WORDS["reading"]))
    begin = PARTS.get(report.material.country, PARTS["EU"])[0].begin.hour
    section.terms = [
        (formats.said(WORDS[f"read_{each}"]), [formats.said(WORDS[f"read_{each}_text"]).format(begin=begin)])
        for each in _READ
    ]
    return section


def methods(report: Computed, formats: Formats) -> Section:
    """The methods that were used: version, what they need, source, what a reader has to know."""
    section = Section("methods", formats.said(WORDS["methods"]))
    used = dict.fromkeys(name for name, _ in report.values)
    for name in used:
        method = FIGURES[name].method
        section.terms.append((formats.said(method.title), _of_method(method, report, formats)))
    if not used:
        section.paragraphs.append(formats.said(WORDS["no_methods"]))
    return section


def _cited(source: Text, formats: Formats) -> str:
    """A source; one that keeps its own title keeps its typography too."""
    return formats.said(source) if source.en != source.fr else typeset(source.en, "en")


def _of_method(method: Method, report: Computed, formats: Formats) -> list[str]:
    # Rules and sources are fixed texts too, though no words of `WORDS`.
    rule = formats.said(Text(method.coverage, COVERAGES_FR[method.name]))
    document = method.citation.document
    source = Text(document, CITATIONS_FR.get(document, document))
    parts = [
        formats.said(WORDS["method_version"]).format(name=method.name, version=method.version),
        formats.said(WORDS["method_coverage"]).format(rule=rule),
        formats.said(WORDS["method_source"]).format(source=_cited(source, formats))
        + (f" <{method.citation.url}>" if method.citation.url else ""),
    ]
    if method.citation.status == "unverified":
        parts.append(formats.said(WORDS["unverified"]))
    if method.name in WHO:
        parts.append(formats.said(WORDS["who_percentile"]))
    told = [
        note
        for (name, _), values in report.values.items()
        if name == method.name
        for value in values
        for note in value.result.notes
    ]
    return [*parts, *(formats.said(note) for note in dict.fromkeys([*method.notes, *told]))]
