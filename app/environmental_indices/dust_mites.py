"""Rates how far the room air of some weeks favours house-dust mites. Pure.

Defines the living conditions of both species.
"""

from datetime import date
from typing import Final
from zoneinfo import ZoneInfo

import numpy as np

from app.environmental_indices.index_results import (
    IndexBand,
    IndexMethod,
    IndexResult,
    MethodCitation,
    NoValueReason,
    ResultComponent,
    build_result,
)
from app.environmental_indices.input_types import (
    HourlySeries,
    compute_percent,
    daily_means,
    find_no_value_reason,
)
from app.environmental_indices.period_selection import list_dates, local_day_range
from app.platform.kernel.array_types import BoolArray, FloatArray
from app.presentation.translation import translated

COVERAGE: Final = 75.0
MITES_FEWEST_DAYS: Final = 14

# Arlian et al.: populations decline below a daily mean of 50 %RH, also with some damp hours.
DRY_BELOW: Final = 50.0
# From here on, a mite does not lose water.
HOLDS_WATER_FROM: Final = 65.0
WARMEST: Final = 32.5
FARINAE_FROM: Final = 22.5
FARINAE_ABOVE: Final = 45.0
PTERONYSSINUS_FROM: Final = 17.5
PTERONYSSINUS_ABOVE: Final = 75.0
# Percent of the days. Our choice: the sources give no limit.
OFTEN: Final = 50.0

MITE_BANDS: Final = (
    IndexBand("controlled", translated("Too dry for mites")),
    IndexBand("possible", translated("Mites can live")),
    IndexBand("favourable", translated("Mites thrive")),
)
MITES: Final = IndexMethod(
    "mite-risk",
    1,
    translated("Risk of house-dust mites"),
    MethodCitation(
        "Arlian et al., J Allergy Clin Immunol 104 (1999) 852-856; Hashimoto et al., Med Entomol Zool 44 "
        "(1993) 185-195",
        "https://pubmed.ncbi.nlm.nih.gov/10518832/",
        "verified",
        "Conditions read in the abstracts of both, and of PubMed 1493744. How days make a class is ours, and "
        "so is the rule of coverage.",
    ),
    "weeks",
    ("temperature", "humidity"),
    "%",
    "14 days at least; 75 % of the days, each with 75 % of its hours of both temperature and humidity.",
    (translated("Of the air of the room: mattresses and carpets are damper and warmer."),),
)


def compute_mite_risk(
    temperature: HourlySeries | None, humidity: HourlySeries | None, first: date, last: date, zone: ZoneInfo
) -> IndexResult:
    """Compute the risk of house-dust mites over some weeks.

    Args:
        temperature: hourly means in °C.
        humidity: hourly means in %RH.
        first: the first local date.
        last: the last local date, included; at least 14 days, else `period_too_short`.
        zone: the time zone of the site.

    Returns:
        The share of days that favour mites, in percent. `controlled` if the mean humidity of the days is
        below 50 %RH; else `favourable` if half of the days favour them. Components: the shares of dry days
        and of days that favour each species (`dry`, `farinae`, `pteronyssinus`), the mean humidity, and the
        number of consecutive dry days at the end (`dry_run`): mites die in 6 to 11 of them.
    """
    period, days = local_day_range(first, last, zone), list_dates(first, last)
    if temperature is None or humidity is None:
        return build_result(MITES, period, None, 0.0, reason="metric_missing")
    means = zip(daily_means(temperature, days, zone), daily_means(humidity, days, zone), strict=True)
    both = [(warm.value, damp.value) for warm, damp in means]
    known = [(warm, damp) for warm, damp in both if warm is not None and damp is not None]
    covered = compute_percent(len(known), len(days))
    reason: NoValueReason | None = find_no_value_reason(humidity.begun(period), covered, COVERAGE)
    if len(days) < MITES_FEWEST_DAYS:
        reason = "period_too_short"
    if reason is not None:
        return build_result(MITES, period, None, covered, reason=reason)
    warm, damp = np.array(known).T
    dry = damp < DRY_BELOW
    farinae, pteronyssinus = _farinae(warm, damp), _pteronyssinus(warm, damp)
    holds = (damp >= HOLDS_WATER_FROM) & (warm >= PTERONYSSINUS_FROM) & (warm <= WARMEST)
    share = _share(farinae | pteronyssinus | holds)
    level = 1 if damp.mean() < DRY_BELOW else 3 if share >= OFTEN else 2
    components = (
        ResultComponent("humidity", float(damp.mean()), "%RH", covered),
        ResultComponent("dry", _share(dry), "%", covered),
        ResultComponent("farinae", _share(farinae), "%", covered),
        ResultComponent("pteronyssinus", _share(pteronyssinus), "%", covered),
        ResultComponent("dry_run", float(_dry_run(both)), "d", covered),
    )
    return build_result(MITES, period, share, covered, band=MITE_BANDS[level - 1], components=components)


def _farinae(warm: FloatArray, damp: FloatArray) -> BoolArray:
    # The sources say: thrives above 45 %RH, declines below 50 %RH. Between them, the decline counts.
    return (warm >= FARINAE_FROM) & (warm <= WARMEST) & (damp > FARINAE_ABOVE) & (damp >= DRY_BELOW)


def _pteronyssinus(warm: FloatArray, damp: FloatArray) -> BoolArray:
    return (warm >= PTERONYSSINUS_FROM) & (warm <= WARMEST) & (damp > PTERONYSSINUS_ABOVE)


def _share(days: BoolArray) -> float:
    return compute_percent(int(days.sum()), len(days))


def _dry_run(days: list[tuple[float | None, float | None]]) -> int:
    """Count the consecutive dry days at the end; a day without a value ends the count."""
    run = 0
    for _, damp in reversed(days):
        if damp is None or damp >= DRY_BELOW:
            break
        run += 1
    return run


METHODS: Final = (MITES,)
