"""Formats numbers, percentages, values with units, lengths and counts by language; parses numbers. Pure."""

import math
import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Final

from babel.numbers import format_decimal

from app.presentation.languages import LOCALES, Language
from app.presentation.typography import NBSP, NO_VALUE, THIN_NBSP

_HUGE: Final = 1e15
_PERCENT_SIGNS: Final[Mapping[Language, str]] = {"en": "%", "fr": f"{THIN_NBSP}%"}
_NO_UNIT: Final = "1"
_HUMIDITY: Final = "%RH"
# NF EN 13725 writes European odour units in French like this.
_ODOUR_UNIT, _ODOUR_UNIT_FR = "ou/m³", "uoE/m³"
# The decimals that instruments resolve, by unit.
_DECIMALS: Final[Mapping[str, int]] = {"µg/m³": 1, "mg/m³": 2, "dB": 1, "°C": 1, "ou/m³": 1}
_LARGE: Final = 100.0
_EXACT_DIGITS: Final = 18
# What separates thousands and decimals in numbers that people type. French keyboards have no narrow space.
_SEPARATORS: Final[Mapping[Language, tuple[str, str]]] = {
    "en": (",", "."),
    "fr": (f" {NBSP}{THIN_NBSP}", ",."),
}
_TYPED: Final[Mapping[Language, re.Pattern[str]]] = {
    language: re.compile(
        rf"(?P<sign>[-+\N{{MINUS SIGN}}]?)(?P<whole>\d{{1,3}}(?:[{thousands}]\d{{3}})+|\d*)"
        rf"(?:[{decimal}](?P<part>\d*))?(?P<exponent>[eE][-+]?\d+)?",
        re.ASCII,
    )
    for language, (thousands, decimal) in _SEPARATORS.items()
}


def format_number(value: float, language: Language, *, decimals: int = 0) -> str:
    """Format a number with a fixed number of decimals."""
    return _format(value, decimals, "0" * decimals, language)


def format_exact_number(value: float, language: Language) -> str:
    """Format a number with up to two decimals, or three significant digits below 1."""
    if abs(value) >= _HUGE:
        return f"{value:.6g}".replace(".", LOCALES[language].number_symbols["latn"]["decimal"])
    decimals = 2 if abs(value) >= 1 or value == 0 else _count_decimals(value)
    return _format(value, decimals, "#" * decimals, language)


def _count_decimals(value: float) -> int:
    """Return the decimals for three significant digits of a number below 1, at most nine."""
    exponent = int(f"{value:e}".rpartition("e")[2])
    return min(2 - exponent, 9)


# Babel takes 40 µs for a number, and lists show the same ones again and again.
@lru_cache(8192)
def _format(value: float, decimals: int, digits: str, language: Language) -> str:
    pattern = f"#,##0.{digits}" if digits else "#,##0"
    # Adding 0.0 turns a negative zero into zero.
    return str(format_decimal(round(value, decimals) + 0.0, format=pattern, locale=LOCALES[language]))


def parse_number(text: str, language: Language) -> float | int | None:
    """Parse a number that a person typed, as the language writes it; None for other text.

    A comma is the decimal sign in French, where a point is accepted too, and separates thousands in English.
    Spaces separate thousands in French. A separator of thousands that does not stand before three digits is
    refused.
    """
    found = _TYPED[language].fullmatch(text)
    if found is None or not (found["whole"] or found["part"]):
        return None
    sign = "-" if found["sign"] in {"-", "\N{MINUS SIGN}"} else ""
    whole = "".join(filter(str.isdigit, found["whole"])) or "0"
    if found["part"] is None and found["exponent"] is None and len(whole) <= _EXACT_DIGITS:
        return int(sign + whole)
    value = float(f"{sign}{whole}.{found['part'] or 0}{found['exponent'] or ''}")
    if not math.isfinite(value):
        return None
    return int(value) if value.is_integer() else value


def format_percent(percent: float, language: Language) -> str:
    """Format a percentage with up to two decimals."""
    return format_exact_number(percent, language) + _PERCENT_SIGNS[language]


def format_whole_percent(percent: float, language: Language) -> str:
    """Format a percentage without decimals. Only exact 0 and 100 are shown as 0% and 100%."""
    whole = round(percent)
    if 0 < percent < 100:  # noqa: PLR2004 (percent)
        whole = min(99, max(1, whole))
    return format_number(whole, language) + _PERCENT_SIGNS[language]


def format_unit(unit: str, language: Language) -> str:
    """Write a unit in the spelling of the language; empty for numbers without one."""
    if unit == _NO_UNIT:
        return ""
    shown = unit.replace(_HUMIDITY, "%")
    return shown.replace(_ODOUR_UNIT, _ODOUR_UNIT_FR) if language == "fr" else shown


def append_unit(number: str, unit: str, language: Language) -> str:
    """Append a unit to a formatted number; a unit may be empty."""
    shown = format_unit(unit, language)
    if shown.startswith("%"):
        return f"{number}{_PERCENT_SIGNS[language]}{shown[1:]}"
    return f"{number}{NBSP}{shown}" if shown else number


def format_exact_measurement(value: float, unit: str, language: Language) -> str:
    """Format a single value, a threshold or a limit with its unit: 15, not 15.0."""
    return append_unit(format_exact_number(value, language), unit, language)


def format_resolved_number(value: float | None, unit: str, language: Language) -> str:
    """Format a statistic with the decimals that instruments resolve; a dash if it is missing."""
    if value is None or not math.isfinite(value):
        return NO_VALUE
    decimals = 0 if unit == "µg/m³" and abs(value) >= _LARGE else _DECIMALS.get(unit, 0)
    return format_number(value, language, decimals=decimals)


def format_resolved_measurement(value: float | None, unit: str, language: Language) -> str:
    """Format a statistic with its unit; a dash if it is missing."""
    number = format_resolved_number(value, unit, language)
    return number if number == NO_VALUE else append_unit(number, unit, language)


def format_length(metres: float, language: Language) -> str:
    """Format a length in metres, or in kilometres with a decimal below ten."""
    metres = round(metres)
    if metres < 1000:  # noqa: PLR2004 (a kilometre)
        return append_unit(format_number(metres, language), "m", language)
    metres = round(metres, -2)
    decimals = 1 if metres < 10_000 and metres % 1000 else 0  # noqa: PLR2004 (ten kilometres)
    return append_unit(format_number(metres / 1000, language, decimals=decimals), "km", language)


def format_count(count: int, forms: tuple[str, str], language: Language) -> str:
    """Format a count with its noun.

    Args:
        count: The count. Zero is plural in English and singular in French.
        forms: The texts for the singular and the plural, with `{}` for the number.
        language: The language.
    """
    form = forms[0 if LOCALES[language].plural_form(count) == "one" else 1]
    return form.format(format_number(count, language))
