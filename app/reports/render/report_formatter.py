"""Formats numbers, times and names of reports in each language, with the CLDR data of Babel. Pure: no clock.

Values have as many digits as the instruments resolve.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Final
from zoneinfo import ZoneInfo

from babel import Locale
from babel.dates import format_date
from babel.numbers import format_decimal, format_percent

from app.catalogue.metrics import METRICS_BY_NAME
from app.notifications.email.mail_formats import clean_line, format_duration, get_mail_texts, localize_unit
from app.platform.kernel.instants import to_datetime
from app.presentation.translation import APOSTROPHE, NBSP, THIN_NBSP, BilingualText
from app.reports.report_input import ReportLanguage

NO_VALUE: Final = "\u2013"
"""Shown instead of a missing value."""
NAME_LIMIT: Final = 60

_LOCALES: Final[Mapping[ReportLanguage, Locale]] = {
    "en": Locale.parse("en_GB"),
    "fr": Locale.parse("fr_FR"),
}
_DECIMALS: Final[Mapping[str, int]] = {"µg/m³": 1, "mg/m³": 2, "dB": 1, "°C": 1, "ou/m³": 1}
_LARGE: Final = 100.0
# Short names of metrics, as the press writes them.
_SYMBOLS: Final[Mapping[str, str]] = {
    "pm2_5": "PM2.5",
    "pm10": "PM10",
    "no2": "NO₂",
    "o3": "O₃",
    "so2": "SO₂",
    "co": "CO",
    "co2": "CO₂",
    "laeq": "LAeq",
}
_HIGH: Final = {"%RH": "%"}


@dataclass(frozen=True, slots=True)
class ReportFormatter:
    """Formats for a language and a time zone.

    Attributes:
        language: `en` or `fr`.
        zone: the time zone of the site.
    """

    language: ReportLanguage
    zone: ZoneInfo

    def translate(self, text: BilingualText) -> str:
        """Return a text of the program in the language, with its typography."""
        return typeset_text(text.fr if self.language == "fr" else text.en, self.language)

    def number(self, value: float, decimals: int = 0) -> str:
        """Format a number with a fixed number of decimals."""
        pattern = "#,##0" + ("." + "0" * decimals if decimals else "")
        rounded = round(value, decimals)
        return str(format_decimal(rounded or 0.0, format=pattern, locale=_LOCALES[self.language]))

    def value(self, value: float | None, unit: str) -> str:
        """Format a value without its unit, with the decimals of the unit; a dash if it is missing."""
        if value is None or not math.isfinite(value):
            return NO_VALUE
        decimals = _DECIMALS.get(unit, 0)
        return self.number(value, 0 if unit == "µg/m³" and abs(value) >= _LARGE else decimals)

    def measured(self, value: float | None, unit: str) -> str:
        """Format a value with its unit."""
        text, shown = self.value(value, unit), self.unit(unit)
        return f"{text}{NBSP}{shown}" if shown and text != NO_VALUE else text

    def limit(self, value: float | None, unit: str) -> str:
        """Format a limit with its unit as the law or guideline writes it: 15, not 15.0."""
        if value is None:
            return NO_VALUE
        text = str(format_decimal(value, format="#,##0.##", locale=_LOCALES[self.language]))
        return text + (f"{NBSP}{self.unit(unit)}" if self.unit(unit) else "")

    def unit(self, unit: str) -> str:
        """Format a unit; empty for numbers without one."""
        return "" if unit == "1" else localize_unit(_HIGH.get(unit, unit), get_mail_texts(self.language))

    def signed(self, value: float, unit: str) -> str:
        """Format a change with its sign and unit."""
        text = self.measured(abs(value), unit)
        if self.value(abs(value), unit) == self.value(0.0, unit):
            return text
        return ("+" if value > 0 else "\u2212") + text

    def percent(self, percent: float) -> str:
        """Format a percentage without decimals. Only exact 0 and 100 are shown as 0% and 100%."""
        whole = round(percent)
        if 0 < percent < 100:  # noqa: PLR2004 (percent)
            whole = min(99, max(1, whole))
        return format_percent(
            whole / 100,
            format="#,##0%" if self.language == "en" else f"#,##0{THIN_NBSP}%",
            locale=_LOCALES[self.language],
        )

    def times(self, ratio: float) -> str:
        """Format a ratio with a multiplication sign."""
        return f"{self.number(ratio, 1)}{NBSP}\u00d7"

    def day(self, day: date) -> str:
        """Format a date with its weekday: `Tuesday 24 November 2026`."""
        return self._first(day, format_date(day, "EEEE d MMMM y", locale=_LOCALES[self.language]))

    def short_day(self, day: date) -> str:
        """Format a date without its year: `24 November`."""
        return self._first(day, format_date(day, "d MMMM", locale=_LOCALES[self.language]))

    def month(self, day: date) -> str:
        """Format a month with its year: `November 2026`."""
        return format_date(day, "MMMM y", locale=_LOCALES[self.language])

    def weekday(self, day: date) -> str:
        """Format a weekday as a letter."""
        return format_date(day, "EEEEE", locale=_LOCALES[self.language]).upper()

    def _first(self, day: date, text: str) -> str:
        # French writes the first day of a month as "1er"; the CLDR does not.
        return (
            re.sub(r"\b1 ", f"1er{NBSP}", text, count=1) if self.language == "fr" and day.day == 1 else text
        )

    def local(self, at_us: int) -> datetime:
        """Convert an instant to the local time of the site."""
        return to_datetime(at_us).astimezone(self.zone)

    def clock(self, at_us: int) -> str:
        """Format a time of day: `14:05`, `14 h 05`."""
        local = self.local(at_us)
        return f"{local:%H:%M}" if self.language == "en" else f"{local.hour}{NBSP}h{NBSP}{local:%M}"

    def moment(self, at_us: int) -> str:
        """Format a date and time without its year."""
        return f"{self.short_day(self.local(at_us).date())}, {self.clock(at_us)}"

    def duration(self, seconds: float) -> str:
        """Format a duration by its two largest units."""
        return format_duration(seconds, get_mail_texts(self.language))

    def counted(self, count: int, one: BilingualText, several: BilingualText) -> str:
        """Format a count with its noun. Zero is plural in English and singular in French.

        Args:
            count: the count.
            one: the text for the singular, with `{}` for the number.
            several: the text for the plural.
        """
        single = count == 1 or (count == 0 and self.language == "fr")
        return self.translate(one if single else several).format(self.number(count))

    def box(self, label: str, box: str) -> str:
        """Format a box in a sentence. French puts names in quotes, but not ids."""
        return label if self.language == "en" or label == box else f"«{NBSP}{label}{NBSP}»"

    def joined(self, parts: list[str]) -> str:
        """Join parts of a sentence with commas and "and"."""
        word = " and " if self.language == "en" else " et "
        return word.join([", ".join(parts[:-1]), parts[-1]]) if len(parts) > 1 else "".join(parts)

    def symbol(self, metric: str) -> str:
        """Return the symbol of a metric, or its name if it has none."""
        if metric in _SYMBOLS:
            symbol = _SYMBOLS[metric]
            return symbol.replace(".", ",") if self.language == "fr" else symbol
        return self.words(metric)

    def words(self, metric: str) -> str:
        """Return the name of a metric."""
        known = METRICS_BY_NAME[metric]
        return self.translate(BilingualText(known.description, known.description_fr))


def typeset_text(text: str, language: ReportLanguage) -> str:
    """Apply the typography of a language to a text of the program: non-breaking spaces, curly apostrophes."""
    text = text.replace("'", APOSTROPHE)
    if language == "fr":
        text = re.sub(r" ([;?!%])", THIN_NBSP + r"\1", text)
        text = re.sub(r" (:|»)", NBSP + r"\1", text).replace("« ", "«" + NBSP)
    return re.sub(r"(\d) (?=(µg|mg|uoE|dB|ppm|ppb|°C|h\b|lx|hPa|m\b|mm\b|min\b|%))", r"\1" + NBSP, text)


def clean_name(text: str) -> str:
    """Clean a name of a client: one line, no invisible characters, at most `NAME_LIMIT` characters."""
    return clean_line(text, NAME_LIMIT) or NO_VALUE
