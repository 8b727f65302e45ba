"""Formats the period of a report for people and for file names. Pure."""

import unicodedata
from typing import Final

from app.environmental_indices.period_selection import DatedPeriod
from app.presentation.local_formatter import LocalFormatter
from app.reports.report_input import ReportFormat, ReportLanguage, ReportLength

_NAME: Final = 60
_WEEK_DAYS: Final = 7
_FORMATS: Final[dict[ReportLength, str]] = {"day": "%Y-%m-%d", "week": "%G-W%V", "month": "%Y-%m"}


def format_period(slot: DatedPeriod, formats: LocalFormatter) -> str:
    """Format a day, a week or a month: `Tuesday 24 November 2026`, `November 2026`."""
    days = (slot.last - slot.first).days + 1
    if days == 1:
        return formats.full_day(slot.first)
    return formats.date_range(slot.first, slot.last) if days == _WEEK_DAYS else formats.month(slot.first)


def make_file_name(
    site: str, length: ReportLength, slot: DatedPeriod, language: ReportLanguage, form: ReportFormat
) -> str:
    """Make the file name of a report, in ASCII: `vigie-rue-de-metz-2026-W47-en.pdf`."""
    plain = unicodedata.normalize("NFKD", site).encode("ascii", "ignore").decode().lower()
    words = "".join(char if char.isalnum() else " " for char in plain).split()
    name = "-".join(["vigie", *words])[:_NAME]
    return f"{name}-{slot.first.strftime(_FORMATS[length])}-{language}.{form}"
