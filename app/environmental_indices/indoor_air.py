"""Rates indoor air by CO2, formaldehyde and benzene, with the limits for French public buildings. Pure.

A bound belongs to the lower, better band.
"""

from typing import Final

import numpy as np

from app.environmental_indices.index_results import (
    BandScale,
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
    PeriodMean,
    compute_percent,
    compute_period_mean,
)
from app.environmental_indices.period_selection import TimePeriod
from app.platform.kernel.array_types import FloatArray
from app.platform.kernel.instants import DAY_US
from app.presentation.translation import translated

COVERAGE: Final = 75.0
WEEK_SHORTEST: Final = DAY_US * 9 // 2
WEEK_LONGEST: Final = DAY_US * 7

FORMALDEHYDE_G_MOL: Final = 30.026
GAS_CONSTANT: Final = 8.314_462_618
ZERO_K: Final = 273.15
ASSUMED_C: Final = 20.0
STANDARD_HPA: Final = 1_013.25

CO2_SCALE: Final = BandScale.of(
    (
        IndexBand(
            "satisfactory",
            translated("Satisfactory renewal of air"),
        ),
        IndexBand("to_improve", translated("To be improved")),
        IndexBand("insufficient", translated("Insufficient: act promptly")),
    ),
    800,
    1_500,
)
_POLLUTANT_BANDS: Final = (
    IndexBand("within_guide", translated("Within the guide value")),
    IndexBand("above_guide", translated("Above the guide value")),
    IndexBand("act", translated("Act: look for the source")),
)
FORMALDEHYDE_WEEK_SCALE: Final = BandScale.of(_POLLUTANT_BANDS, 30, 100)
BENZENE_SCALE: Final = BandScale.of(_POLLUTANT_BANDS, 2, 10)
FORMALDEHYDE_HOUR_LIMIT: Final = 100.0

_OCCUPIED: Final = translated("Meant for rooms with people in them: an empty room says nothing.")
ASSUMED: Final = translated("In some hours no temperature was measured: 20 °C were taken for it.")
_REFERENCE: Final = translated("The law asks for a sampler and a laboratory; a sensor gives a hint.")
_HCSP: Final = "HCSP (2019), valeurs repères du formaldéhyde dans l'air intérieur; décret n° 2012-14 (France)"

CO2: Final = IndexMethod(
    "indoor-co2",
    1,
    translated("Indoor CO₂"),
    MethodCitation(
        "Arrêté du 27 décembre 2022 (France), mesure à lecture directe du CO₂, article 4",
        "https://www.legifrance.gouv.fr/jorf/id/JORFTEXT000046830005",
        "verified",
        "Both values and their words read in a text that quotes article 4. The rule of coverage is ours.",
    ),
    "any",
    ("co2",),
    "ppm",
    "75 % of the hours of the period, each with 75 % of the hour.",
    (_OCCUPIED,),
)
FORMALDEHYDE_HOUR: Final = IndexMethod(
    "indoor-formaldehyde-hour",
    1,
    translated("Indoor formaldehyde, hours"),
    MethodCitation(
        _HCSP,
        None,
        "unverified",
        "100 µg/m³ for 1 to 4 hours is of the opinion of 2019; the present annex of the decree was not read.",
    ),
    "any",
    ("hcho", "temperature"),
    "µg/m³",
    "75 % of the hours of the period, each with 75 % of the hour.",
    (_REFERENCE,),
)
FORMALDEHYDE_WEEK: Final = IndexMethod(
    "indoor-formaldehyde-week",
    1,
    translated("Indoor formaldehyde, 4.5 to 7 days"),
    MethodCitation(
        _HCSP,
        None,
        "unverified",
        "30 µg/m³ is the guide value of decree 2011-1727, 100 the value of the opinion of 2019; the present "
        "annexes were not read.",
    ),
    "week",
    ("hcho", "temperature"),
    "µg/m³",
    "75 % of the hours of 4.5 to 7 days, each with 75 % of the hour.",
    (_REFERENCE,),
)
BENZENE: Final = IndexMethod(
    "indoor-benzene",
    1,
    translated("Indoor benzene, 4.5 to 7 days"),
    MethodCitation(
        "Décret n° 2011-1727 and décret n° 2012-14 (France): valeurs-guides et seuil d'action du benzène",
        "https://www.legifrance.gouv.fr/jorf/id/JORFTEXT000025105291",
        "unverified",
        "The guide value of 2 µg/m³ (since 2016) read in texts on the decree; 10 µg/m³ and the present annex "
        "could not be confirmed.",
    ),
    "week",
    ("benzene",),
    "µg/m³",
    "75 % of the hours of 4.5 to 7 days, each with 75 % of the hour.",
    (_REFERENCE,),
)


def convert_formaldehyde_ug_m3(
    ppb: FloatArray, temperature_c: FloatArray, pressure_hpa: float = STANDARD_HPA
) -> FloatArray:
    """Convert formaldehyde from ppb to µg/m³ by the ideal gas law: ppb · M · p / (R · T).

    Args:
        ppb: shares by volume, shape (n,).
        temperature_c: temperatures of the air, °C, shape (n,).
        pressure_hpa: pressure of the air, hPa.

    Returns:
        µg/m³, shape (n,): 1 ppb is 1.248 µg/m³ at 20 °C, 1.227 at 25 °C (1013.25 hPa).
    """
    # ppb are nmol per mol; n/V = p/(R·T) in mol/m³; times g/mol gives ng, a thousandth of µg.
    mol_m3 = pressure_hpa * 100.0 / (GAS_CONSTANT * (temperature_c + ZERO_K))
    return ppb * mol_m3 * FORMALDEHYDE_G_MOL / 1_000.0


def compute_indoor_co2(hourly: HourlySeries | None, period: TimePeriod) -> IndexResult:
    """Rate the highest hourly mean of CO2 in a period.

    Returns:
        The class. Components: the mean of the period (`mean`), and the shares of hours above the two bounds
        (`above_800`, `above_1500`, in percent).
    """
    highest = compute_period_mean(hourly, period, COVERAGE, highest=True)
    if hourly is None or highest.value is None:
        return build_result(CO2, period, None, highest.coverage, reason=highest.reason)
    found = hourly.on(period.hours())
    found = found[np.isfinite(found)]
    shares = tuple(
        ResultComponent(
            f"above_{bound:g}",
            compute_percent(int(np.count_nonzero(found > bound)), len(found)),
            "%",
            highest.coverage,
        )
        for bound in CO2_SCALE.bounds
    )
    mean = ResultComponent("mean", float(found.mean()), "ppm", highest.coverage)
    band = CO2_SCALE.band(highest.value)
    return build_result(CO2, period, highest.value, highest.coverage, band=band, components=(mean, *shares))


def compute_indoor_formaldehyde_hour(
    ppb: HourlySeries | None,
    temperature: HourlySeries | None,
    period: TimePeriod,
    pressure_hpa: float = STANDARD_HPA,
) -> IndexResult:
    """Compare the highest hourly mean of formaldehyde in a period with the limit for one to four hours.

    Args:
        ppb: hourly means in ppb.
        temperature: hourly means in °C; 20 °C are assumed for hours without one, with a note.
        period: any period.
        pressure_hpa: pressure of the air, hPa.
    """
    hourly, assumed = _by_mass(ppb, temperature, period, pressure_hpa)
    highest = compute_period_mean(hourly, period, COVERAGE, highest=True)
    return build_result(
        FORMALDEHYDE_HOUR,
        period,
        highest.value,
        highest.coverage,
        limit=FORMALDEHYDE_HOUR_LIMIT,
        reason=highest.reason,
        notes=(ASSUMED,) if assumed and highest.value is not None else (),
    )


def compute_indoor_formaldehyde_week(
    ppb: HourlySeries | None,
    temperature: HourlySeries | None,
    period: TimePeriod,
    pressure_hpa: float = STANDARD_HPA,
) -> IndexResult:
    """Rate the mean of formaldehyde over 4.5 to 7 days by the guide value and the action level.

    Args:
        ppb: hourly means in ppb.
        temperature: hourly means in °C; 20 °C are assumed for hours without one, with a note.
        period: 4.5 to 7 days, else `period_too_short` or `period_too_long`.
        pressure_hpa: pressure of the air, hPa.
    """
    hourly, assumed = _by_mass(ppb, temperature, period, pressure_hpa)
    return _of_week(FORMALDEHYDE_WEEK, FORMALDEHYDE_WEEK_SCALE, hourly, period, assumed=assumed)


def compute_indoor_benzene(hourly: HourlySeries | None, period: TimePeriod) -> IndexResult:
    """Rate the mean of benzene over 4.5 to 7 days by the guide value and the action level."""
    return _of_week(BENZENE, BENZENE_SCALE, hourly, period, assumed=False)


def _of_week(
    method: IndexMethod, scale: BandScale, hourly: HourlySeries | None, period: TimePeriod, *, assumed: bool
) -> IndexResult:
    mean, reason = compute_period_mean(hourly, period, COVERAGE), _unfit(period)
    if reason is not None:
        mean = PeriodMean(None, mean.coverage, reason)
    return build_result(
        method,
        period,
        mean.value,
        mean.coverage,
        limit=scale.bounds[0],
        band=None if mean.value is None else scale.band(mean.value),
        reason=mean.reason,
        notes=(ASSUMED,) if assumed and mean.value is not None else (),
    )


def _unfit(period: TimePeriod) -> NoValueReason | None:
    length = period.end_us - period.start_us
    if length < WEEK_SHORTEST:
        return "period_too_short"
    # In autumn, seven local days have one hour more.
    return "period_too_long" if length > WEEK_LONGEST + DAY_US // 24 else None


def _by_mass(
    ppb: HourlySeries | None, temperature: HourlySeries | None, period: TimePeriod, pressure_hpa: float
) -> tuple[HourlySeries | None, bool]:
    """Convert hourly means to µg/m³, and return whether a temperature had to be assumed."""
    if ppb is None:
        return None, False
    part = ppb.within(period)
    known = np.full(len(part.times), np.nan)
    if temperature is not None and len(part.times):
        first = int(part.times[0])
        hours = range(first, int(part.times[-1]) + 1, DAY_US // 24)
        known = temperature.on(hours)[(part.times - first) // (DAY_US // 24)]
    assumed = bool((part.valid & ~np.isfinite(known)).any())
    mass = convert_formaldehyde_ug_m3(
        part.values, np.where(np.isfinite(known), known, ASSUMED_C), pressure_hpa
    )
    return HourlySeries(part.times, mass, part.coverage), assumed


METHODS: Final = (CO2, FORMALDEHYDE_HOUR, FORMALDEHYDE_WEEK, BENZENE)
