"""Formats times, durations and values for the pages of the console. Pure: no clock."""

from dataclasses import dataclass, replace
from datetime import date, datetime
from typing import Final
from zoneinfo import ZoneInfo

from markupsafe import Markup, escape

from app.console.framework.page_translation import find_text
from app.presentation.local_formatter import LocalFormatter
from app.presentation.typography import NO_VALUE

_DAY_S: Final = 86_400
_HOUR_S: Final = 3_600
_MINUTE_S: Final = 60
_MISSING: Final = escape(NO_VALUE)


@dataclass(frozen=True, slots=True)
class ConsoleFormats:
    """Formats of one page.

    Attributes:
        formatter: The language and the time zone.
        now: The time of the page.
    """

    formatter: LocalFormatter
    now: datetime

    def at_zone(self, zone: str | None) -> "ConsoleFormats":
        """Return the formats of another time zone, such as that of a site."""
        return self if zone is None else replace(self, formatter=replace(self.formatter, zone=ZoneInfo(zone)))

    def time(self, at: str | None, zone: str | None = None) -> Markup:
        """Format an instant (RFC 3339): the time of day for today, else with its date.

        A script adds the viewer's own time as a tooltip.
        """
        if at is None:
            return _MISSING
        formatter = self.at_zone(zone).formatter
        instant = datetime.fromisoformat(at)
        local = formatter.local(instant)
        today = local.date() == formatter.local(self.now).date()
        is_this_year = local.year == formatter.local(self.now).year
        if today:
            text = formatter.clock(instant)
        elif is_this_year:
            text = formatter.moment(instant)
        else:
            text = f"{formatter.day(instant)}, {formatter.clock(instant)}"
        return self._element(at, text, formatter)

    def clock_now(self) -> str:
        """Format the time of the page."""
        return self.formatter.clock(self.now)

    def full_time(self, at: str | None, zone: str | None = None) -> Markup:
        """Format an instant with its date and the time zone."""
        if at is None:
            return _MISSING
        formatter = self.at_zone(zone).formatter
        instant = datetime.fromisoformat(at)
        return self._element(at, f"{formatter.day(instant)}, {formatter.clock(instant)}", formatter)

    def date(self, day: str) -> str:
        """Format a date (ISO 8601)."""
        return self.formatter.day(date.fromisoformat(day))

    def ago(self, at: str | None) -> Markup:
        """Format the time since an instant, or until one in the future."""
        if at is None:
            return _MISSING
        seconds = (self.now - datetime.fromisoformat(at)).total_seconds()
        formatter = self.formatter
        if abs(seconds) < _MINUTE_S:
            text = formatter.translate(find_text("just now"))
        elif seconds > 0:
            text = formatter.fill(find_text("{duration} ago"), duration=self.short(seconds))
        else:
            text = formatter.fill(find_text("in {duration}"), duration=self.short(-seconds))
        return self._element(at, text, formatter)

    def since(self, at: str | None, until: str | None = None) -> str:
        """Format the duration from an instant to another one, by default until now."""
        if at is None:
            return NO_VALUE
        end = self.now if until is None else datetime.fromisoformat(until)
        return self.short(max(0.0, (end - datetime.fromisoformat(at)).total_seconds()))

    def lasted(self, at: str, until: str | None = None) -> str:
        """Format a duration as `since` does, with minutes and seconds below an hour: for details."""
        end = self.now if until is None else datetime.fromisoformat(until)
        seconds = max(0.0, (end - datetime.fromisoformat(at)).total_seconds())
        return self.short(seconds) if seconds >= _HOUR_S else self.formatter.duration(seconds)

    def ahead(self, at: str, zone: str | None = None) -> Markup:
        """Format an instant of the near future: by its time of day today and tomorrow, else by its date."""
        formatter = self.at_zone(zone).formatter
        instant = datetime.fromisoformat(at)
        days = (formatter.local(instant).date() - formatter.local(self.now).date()).days
        if days != 1:
            return self.time(at, zone)
        text = formatter.fill(find_text("tomorrow, {time}"), time=formatter.clock(instant))
        return self._element(at, text, formatter)

    def short(self, seconds: float) -> str:
        """Format a duration by its largest unit, or by two below a day."""
        if seconds >= 2 * _DAY_S:
            seconds -= seconds % _DAY_S
        elif seconds >= _MINUTE_S:
            seconds -= seconds % _MINUTE_S
        return self.formatter.duration(seconds)

    def measured(self, value: float | None, unit: str | None) -> str:
        """Format a value with its unit; a dash if it is missing."""
        if value is None:
            return NO_VALUE
        text = self.formatter.limit(value, unit or "1")
        # A hyphen is as wide as a figure in tables, and is no minus sign.
        return f"\N{MINUS SIGN}{text[1:]}" if text.startswith("-") else text

    def count(self, value: float | None) -> str:
        """Format a whole number; a dash if it is missing."""
        return NO_VALUE if value is None else self.formatter.number(value)

    def _element(self, at: str, text: str, formatter: LocalFormatter) -> Markup:
        zone = formatter.zone.key
        return Markup('<time datetime="{}" data-zone="{}">{}</time>').format(at, zone, text)
