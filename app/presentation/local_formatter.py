"""Binds the formats of numbers, dates and texts to one language and time zone. Pure: no clock."""

from dataclasses import dataclass
from datetime import date, datetime
from typing import Final
from zoneinfo import ZoneInfo

from app.platform.kernel.instants import to_datetime
from app.presentation import date_formats, number_formats
from app.presentation.languages import Language
from app.presentation.translation import BilingualText, choose_text
from app.presentation.typography import COLONS, NBSP, NO_VALUE, join_clauses, join_words

UTC_ZONE: Final = ZoneInfo("UTC")


@dataclass(frozen=True, slots=True)
class LocalFormatter:
    """Formats for a language and a time zone.

    A time is a datetime, or µs since the epoch.

    Attributes:
        language: `en` or `fr`.
        zone: The time zone of dates and times.
    """

    language: Language
    zone: ZoneInfo = UTC_ZONE

    @property
    def colon(self) -> str:
        """The colon between a label and its value."""
        return COLONS[self.language]

    def translate(self, text: BilingualText) -> str:
        """Return a text of the program in the language, with its typography."""
        return choose_text(text, self.language)

    def fill(self, text: BilingualText, **values: str) -> str:
        """Fill the placeholders of a text. The typography of the values is not changed."""
        return self.translate(text).format(**values)

    def number(self, value: float, decimals: int = 0) -> str:
        """Format a number with a fixed number of decimals."""
        return number_formats.format_number(value, self.language, decimals=decimals)

    def value(self, value: float | None, unit: str) -> str:
        """Format a statistic without its unit, with the decimals of the unit; a dash if it is missing."""
        return number_formats.format_resolved_number(value, unit, self.language)

    def measured(self, value: float | None, unit: str) -> str:
        """Format a statistic with its unit; a dash if it is missing."""
        return number_formats.format_resolved_measurement(value, unit, self.language)

    def limit(self, value: float | None, unit: str) -> str:
        """Format a limit with its unit as the law or guideline writes it; a dash if it is missing."""
        if value is None:
            return NO_VALUE
        return number_formats.format_exact_measurement(value, unit, self.language)

    def unit(self, unit: str) -> str:
        """Format a unit; empty for numbers without one."""
        return number_formats.format_unit(unit, self.language)

    def signed(self, value: float, unit: str) -> str:
        """Format a change with its sign and unit."""
        text = self.measured(abs(value), unit)
        if text == self.measured(0.0, unit):
            return text
        return ("+" if value > 0 else "\u2212") + text

    def percent(self, percent: float) -> str:
        """Format a percentage without decimals. Only exact 0 and 100 are shown as 0% and 100%."""
        return number_formats.format_whole_percent(percent, self.language)

    def times(self, ratio: float) -> str:
        """Format a ratio with a multiplication sign."""
        return f"{self.number(ratio, 1)}{NBSP}\u00d7"

    def length(self, metres: float) -> str:
        """Format a length in metres or kilometres."""
        return number_formats.format_length(metres, self.language)

    def counted(self, count: int, one: BilingualText, several: BilingualText) -> str:
        """Format a count with its noun, whose texts have `{}` for the number."""
        forms = (self.translate(one), self.translate(several))
        return number_formats.format_count(count, forms, self.language)

    def local(self, at: datetime | int) -> datetime:
        """Convert a time to the time zone."""
        return (to_datetime(at) if isinstance(at, int) else at).astimezone(self.zone)

    def _date(self, day: date | int) -> date:
        return self.local(day).date() if isinstance(day, datetime | int) else day

    def day(self, day: date | int) -> str:
        """Format a date, or the local date of a time: `24 November 2026`."""
        return date_formats.format_day(self._date(day), self.language)

    def full_day(self, day: date | int) -> str:
        """Format a date with its weekday: `Tuesday 24 November 2026`."""
        return date_formats.format_full_day(self._date(day), self.language)

    def short_day(self, day: date | int) -> str:
        """Format a date without its year: `24 November`."""
        return date_formats.format_short_day(self._date(day), self.language)

    def date_range(self, first: date, last: date) -> str:
        """Format a range of dates, with the year of the last one."""
        return f"{self.short_day(first)} \u2013 {self.day(last)}"

    def month(self, day: date) -> str:
        """Format a month with its year: `November 2026`."""
        return date_formats.format_month(day, self.language)

    def clock(self, at: datetime | int) -> str:
        """Format a local time of day: `14:05`, `14 h 05`."""
        return date_formats.format_clock_time(self.local(at), self.language)

    def moment(self, at: datetime | int) -> str:
        """Format a local date and time without the year."""
        return f"{self.short_day(at)}, {self.clock(at)}"

    def duration(self, seconds: float) -> str:
        """Format a duration by its two largest units."""
        return date_formats.format_duration(seconds, self.language)

    def joined(self, parts: list[str]) -> str:
        """Join parts of a sentence with commas and "and"."""
        return join_words(parts, self.language)

    def listed(self, parts: list[str]) -> str:
        """Join parts that may contain commas, with semicolons."""
        return join_clauses(parts, self.language)
