"""Computes energy means of sound levels, and the European day-evening-night level (Lden). Pure.

The weight of a level is the time for which it was measured. A level in two parts of the day counts in each
with its time there, so the result does not depend on the length of intervals.

A day begins with its first part (in France at 6:00) and ends 24 hours of local time later, so that no night
is split. If the clocks change, its night has 7 or 9 hours. The level of the whole day weighs the parts 12
to 4 to 8 as in the directive, whatever their real lengths.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from datetime import date, time, timedelta
from typing import Final, NamedTuple
from zoneinfo import ZoneInfo

import numpy as np

from app.environmental_indices.index_results import (
    IndexMethod,
    IndexResult,
    MethodCitation,
    ResultComponent,
    build_result,
    common_reason,
    lowest_coverage,
)
from app.environmental_indices.input_types import SoundLevels, compute_percent, find_no_value_reason
from app.environmental_indices.period_selection import TimePeriod, local_date, resolve_local_time
from app.platform.kernel.array_types import FloatArray
from app.presentation.translation import translated

UNIT: Final = "dB"
DAY_COVERAGE: Final = 75.0
YEAR_COVERAGE: Final = 75.0
DEFAULT_COUNTRY: Final = "EU"


class DayPart(NamedTuple):
    """A part of the day.

    Attributes:
        key: its name.
        begin: the local time at which it begins.
        end: the local time at which it ends; on the next day if it is not after `begin`.
        weight: its weight in the level of the day, hours.
        penalty: the penalty that is added to its levels, dB.
    """

    key: str
    begin: time
    end: time
    weight: float
    penalty: float


def _parts(day: int, evening: int, night: int) -> tuple[DayPart, ...]:
    return (
        DayPart("lday", time(day), time(evening), 12, 0),
        DayPart("levening", time(evening), time(night), 4, 5),
        DayPart("lnight", time(night), time(day), 8, 10),
    )


DAY_PARTS: Final[Mapping[str, tuple[DayPart, ...]]] = {
    DEFAULT_COUNTRY: _parts(7, 19, 23),
    "FR": _parts(6, 18, 22),
    # 34. BImSchV, § 2.
    "DE": _parts(6, 18, 22),
}
"""The parts of the day by country (ISO 3166-1); `EU` applies to countries without their own."""

_DIRECTIVE: Final = "Directive 2002/49/EC, Annex I"
_DIRECTIVE_URL: Final = "https://eur-lex.europa.eu/eli/dir/2002/49/oj"
_BASIS: Final = (
    "Formula, weights, penalties and hours read in summaries of the directive and in notes of French "
    "authorities (6-18-22-6 h). The rule of coverage is ours: the directive is about modelled years."
)
_MEASURED: Final = translated(
    "Measured at the box with all that sounded there: maps are computed for one kind of source, 4 m above "
    "the ground, without the reflection of the facade."
)

LEQ: Final = IndexMethod(
    "leq",
    1,
    translated("Equivalent sound level"),
    MethodCitation(
        "ISO 1996-1: equivalent continuous sound pressure level",
        None,
        "verified",
        "The definition is that of every textbook: 10·lg of the mean of 10^(L/10) over time.",
    ),
    "any",
    ("laeq",),
    UNIT,
    "75 % of the period.",
)
LDEN_DAY: Final = IndexMethod(
    "lden-day",
    1,
    translated("Day-evening-night level of one day"),
    MethodCitation(_DIRECTIVE, _DIRECTIVE_URL, "verified", _BASIS),
    "day",
    ("laeq",),
    UNIT,
    "75 % of each part of the day, of the time that it really lasted.",
    (
        translated("A figure of 24 hours: noise maps and their limits are of a whole year."),
        _MEASURED,
    ),
)
LDEN_YEAR: Final = IndexMethod(
    "lden-year",
    1,
    translated("Day-evening-night level of a year"),
    MethodCitation(_DIRECTIVE, _DIRECTIVE_URL, "verified", _BASIS),
    "year",
    ("laeq",),
    UNIT,
    "75 % of all days, of all evenings and of all nights of the year.",
    (_MEASURED,),
)


def energy_mean(values: FloatArray, weights: FloatArray | None = None) -> float:
    """Compute the energy mean of levels: 10·lg(Σ w·10^(L/10) / Σ w).

    Args:
        values: levels, dB, shape (n,), n > 0.
        weights: shape (n,), not all zero; None for equal weights.

    Returns:
        dB; never below the arithmetic mean, never above the highest level.
    """
    top = float(values.max())
    # Energies relative to the loudest level cannot overflow.
    energies = np.power(10.0, (values - top) / 10.0)
    return top + 10.0 * math.log10(float(np.average(energies, weights=weights)))


def combine_day_parts(levels: Mapping[str, float], parts: Sequence[DayPart]) -> float:
    """Combine the levels of a day's parts: 10·lg(Σ w·10^((L + penalty)/10) / 24).

    Args:
        levels: the levels in dB, by key of the part.
        parts: the parts with their weights (12, 4, 8) and penalties (0, 5, 10).
    """
    values = np.array([levels[part.key] + part.penalty for part in parts])
    return energy_mean(values, np.array([part.weight for part in parts]))


def noise_day(day: date, zone: ZoneInfo, country: str = DEFAULT_COUNTRY) -> TimePeriod:
    """Return the 24 hours of local time that begin on a date with the first part of the day."""
    begin = DAY_PARTS.get(country, DAY_PARTS[DEFAULT_COUNTRY])[0].begin
    return TimePeriod(
        resolve_local_time(day, begin, zone), resolve_local_time(day + timedelta(days=1), begin, zone)
    )


def compute_leq(levels: SoundLevels, period: TimePeriod) -> IndexResult:
    """Compute the energy mean of a period."""
    part = _mean("leq", levels, [period])
    return build_result(LEQ, period, part.value, part.coverage, reason=part.reason)


def compute_lden_day(
    levels: SoundLevels, day: date, zone: ZoneInfo, country: str = DEFAULT_COUNTRY
) -> IndexResult:
    """Compute Lden of the 24 hours (23 or 25 if clocks change) from the first part of a day.

    Args:
        levels: the levels of that date and the following night.
        day: the local date.
        zone: the time zone of the site.
        country: the country that defines the parts of the day (ISO 3166-1); unknown ones use those of `EU`.

    Returns:
        Lden. Components: Lday, Levening, Lnight and the plain energy mean (`leq`).
    """
    return _lden(LDEN_DAY, levels, noise_day(day, zone, country), zone, country=country, least=DAY_COVERAGE)


def compute_lden_year(
    levels: SoundLevels, year: int, zone: ZoneInfo, country: str = DEFAULT_COUNTRY
) -> IndexResult:
    """Compute Lden of a year from the energy means of all its days, evenings and nights.

    The year begins with the first part of 1 January and ends with the night of 31 December.

    Args:
        levels: the levels of the year.
        year: the year.
        zone: the time zone of the site.
        country: the country that defines the parts of the day (ISO 3166-1); unknown ones use those of `EU`.
    """
    first, after = date(year, 1, 1), date(year + 1, 1, 1)
    period = TimePeriod(noise_day(first, zone, country).start_us, noise_day(after, zone, country).start_us)
    return _lden(LDEN_YEAR, levels, period, zone, country=country, least=YEAR_COVERAGE)


def _lden(
    method: IndexMethod,
    levels: SoundLevels,
    period: TimePeriod,
    zone: ZoneInfo,
    *,
    country: str,
    least: float,
) -> IndexResult:
    parts = DAY_PARTS.get(country, DAY_PARTS[DEFAULT_COUNTRY])
    components = tuple(_mean(part.key, levels, list(_spans(part, period, zone)), least) for part in parts)
    found = {part.key: part.value for part in components if part.value is not None}
    shown = (*components, _mean("leq", levels, [period], least))
    if len(found) < len(parts):
        lowest = min(part.coverage for part in components)
        reason = common_reason(part for part in components if part.value is None)
        return build_result(method, period, None, lowest, components=shown, reason=reason)
    value = combine_day_parts(found, parts)
    return build_result(method, period, value, lowest_coverage(components), components=shown)


def _spans(part: DayPart, period: TimePeriod, zone: ZoneInfo) -> Iterator[TimePeriod]:
    """Yield the spans of a part of the day within a period."""
    day, last = local_date(period.start_us, zone) - timedelta(days=1), local_date(period.end_us, zone)
    while day <= last:
        ends_on = day if part.begin < part.end else day + timedelta(days=1)
        start = max(period.start_us, resolve_local_time(day, part.begin, zone))
        end = min(period.end_us, resolve_local_time(ends_on, part.end, zone))
        if start < end:
            yield TimePeriod(start, end)
        day += timedelta(days=1)


def _mean(
    key: str, levels: SoundLevels, spans: Sequence[TimePeriod], least: float = DAY_COVERAGE
) -> ResultComponent:
    """Compute the energy mean of the measured levels in some spans."""
    found = [levels.weights(span) for span in spans]
    weights = np.concatenate([seconds for _, seconds in found]) if found else np.empty(0)
    measured = float(weights.sum())
    covered = compute_percent(measured, sum(span.seconds for span in spans))
    reason = find_no_value_reason(int(np.count_nonzero(weights)), covered, least)
    if reason is not None:
        return ResultComponent(key, None, UNIT, covered, reason=reason)
    values = np.concatenate([levels.values[part] for part, _ in found])
    return ResultComponent(key, energy_mean(values, weights), UNIT, covered)


METHODS: Final = (LEQ, LDEN_DAY, LDEN_YEAR)
