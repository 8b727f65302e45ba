"""Computes the emergence of a noise over the residual level (French Code de la santé publique). Pure.

Defines the limits by day and night, and the correction for the duration of the noise.
"""

from collections.abc import Sequence
from datetime import time, timedelta
from typing import Final
from zoneinfo import ZoneInfo

import numpy as np

from app.environmental_indices.index_results import (
    IndexMethod,
    IndexResult,
    MethodCitation,
    NoValueReason,
    ResultComponent,
    build_result,
)
from app.environmental_indices.input_types import SoundLevels, compute_percent, find_no_value_reason
from app.environmental_indices.noise_levels import UNIT, energy_mean
from app.environmental_indices.period_selection import TimePeriod, local_date, resolve_local_time
from app.platform.kernel.array_types import FloatArray
from app.presentation.translation import translated

DAY_LIMIT: Final = 5.0
NIGHT_LIMIT: Final = 3.0
DAY_BEGIN: Final = time(7)
DAY_END: Final = time(22)
COVERAGE: Final = 75.0
CORRECTIONS: Final[tuple[tuple[float, float], ...]] = (
    (60, 6),
    (5 * 60, 5),
    (20 * 60, 4),
    (2 * 3_600, 3),
    (4 * 3_600, 2),
    (8 * 3_600, 1),
)
"""The longest total duration (s, included) and the dB that are added to the limit; 0 beyond the last one."""

EMERGENCE: Final = IndexMethod(
    "noise-emergence",
    1,
    translated("Emergence of a noise in the neighbourhood"),
    MethodCitation(
        "Code de la santé publique (France), article R1336-7",
        "https://www.legifrance.gouv.fr/codes/texte_lc/LEGITEXT000006072665/",
        "verified",
        "Limits and durations read in a copy of the article as in force since 10 August 2017, up to 8 hours; "
        "that nothing is added beyond is what is left. The rule of coverage is ours.",
    ),
    "any",
    ("laeq",),
    UNIT,
    "75 % of the time with the noise, and 75 % of the time without it.",
    (
        translated(
            "A hint, not a report: that needs a sound level meter of a class, on the spot (NF S 31-010)."
        ),
    ),
)


def duration_correction_db(duration_s: float) -> float:
    """Return the dB that are added to the limit for a noise of this total duration."""
    return next((added for longest, added in CORRECTIONS if duration_s <= longest), 0.0)


def emergence_limit_db(duration_s: float, *, night: bool) -> float:
    """Return the limit of the emergence for a noise of this total duration, dB."""
    return (NIGHT_LIMIT if night else DAY_LIMIT) + duration_correction_db(duration_s)


def is_night(at_us: int, zone: ZoneInfo) -> bool:
    """Return whether it is night by law: 22:00 to 7:00."""
    day = local_date(at_us, zone)
    return not resolve_local_time(day, DAY_BEGIN, zone) <= at_us < resolve_local_time(day, DAY_END, zone)


def compute_noise_emergence(
    levels: SoundLevels, noisy: Sequence[TimePeriod], period: TimePeriod, zone: ZoneInfo
) -> IndexResult:
    """Compare the emergence of a noise in a period with its limit.

    Args:
        levels: the measured levels, with and without the noise.
        noisy: the periods in which the noise is heard, without overlaps; their parts within `period` count.
        period: entirely by day (7:00 to 22:00) or entirely by night, else `period_mixed`.
        zone: the time zone of the site.

    Returns:
        The difference, in dB, of the ambient level (energy mean while the noise is heard) and the residual
        level (while it is not). Components: `ambient`, `residual`, `duration` (s) and `correction` (dB).
    """
    spans = [
        TimePeriod(max(span.start_us, period.start_us), min(span.end_us, period.end_us)) for span in noisy
    ]
    spans = [span for span in spans if span.start_us < span.end_us]
    duration = sum(span.seconds for span in spans)
    night = is_night(period.start_us, zone)
    allowed = emergence_limit_db(duration, night=night)
    noise_weights = [levels.weights(span) for span in spans]
    part, all_weights = levels.weights(period)
    without = all_weights.copy()
    for inside, weights in noise_weights:
        without[inside.start - part.start : inside.stop - part.start] -= weights
    during = all_weights - without
    values = levels.values[part]
    ambient = _level("ambient", values, during, duration)
    residual = _level("residual", values, without, period.seconds - duration)
    reason = _mixed(period, zone, night=night) or ambient.reason or residual.reason
    value = None
    if reason is None and ambient.value is not None and residual.value is not None:
        value = ambient.value - residual.value
    components = (
        ambient,
        residual,
        ResultComponent("duration", duration, "s", 100.0),
        ResultComponent("correction", duration_correction_db(duration), UNIT, 100.0),
    )
    covered = min(ambient.coverage, residual.coverage)
    return build_result(
        EMERGENCE,
        period,
        value,
        covered,
        limit=allowed,
        has_ratio=False,
        components=components,
        reason=reason,
    )


def _mixed(period: TimePeriod, zone: ZoneInfo, *, night: bool) -> NoValueReason | None:
    """Return `period_mixed` if a period is not entirely in one day or one night."""
    day = local_date(period.start_us, zone)
    limits = [resolve_local_time(day, DAY_BEGIN, zone), resolve_local_time(day, DAY_END, zone)]
    if night and period.start_us >= limits[1]:
        limits = [resolve_local_time(day + timedelta(days=1), DAY_BEGIN, zone)]
    inside = any(period.start_us < limit < period.end_us for limit in limits)
    return "period_mixed" if inside else None


def _level(key: str, values: FloatArray, weights: FloatArray, seconds: float) -> ResultComponent:
    weights = np.maximum(weights, 0.0)
    covered = compute_percent(float(weights.sum()), seconds)
    # After subtracting the whole of an interval, a rounding error may remain.
    reason = find_no_value_reason(int(np.count_nonzero(weights > 1e-6)), covered, COVERAGE)  # noqa: PLR2004
    if reason is not None:
        return ResultComponent(key, None, UNIT, covered, reason=reason)
    return ResultComponent(key, energy_mean(values, weights), UNIT, covered)


METHODS: Final = (EMERGENCE,)
