"""Defines presets for outdoor air under European law: limit values, information and alert thresholds.

Directive (EU) 2024/2881 repeals Directive 2008/50/EC with effect from 12 December 2026 (its Article 31). It
keeps the former limit values until 2030. Its alert thresholds are lower, and it has information thresholds
for more pollutants than ozone.
"""

from datetime import date
from typing import Final

from app.rules.presets.preset_types import LegalValidity, Preset, PresetCitation, PresetText
from app.rules.presets.who_air_presets import METRIC_WORDS, WINDOW_WORDS, PresetLevel, make_mean_preset

RECAST_FROM: Final = date(2026, 12, 12)
"""Directive (EU) 2024/2881 applies, and Directive 2008/50/EC is repealed, from this day on."""

_2030: Final = date(2030, 1, 1)
_UNTIL_RECAST: Final = LegalValidity(None, RECAST_FROM)
_UNTIL_2030: Final = LegalValidity(RECAST_FROM, _2030)
_FROM_RECAST: Final = LegalValidity(RECAST_FROM)
_FROM_2030: Final = LegalValidity(_2030)

_URL_2008: Final = "https://eur-lex.europa.eu/eli/dir/2008/50/oj"
_EU_2008: Final = PresetCitation("Directive 2008/50/EC", "Annex XI, section B", _URL_2008)
_EU_2008_ALERT: Final = PresetCitation(
    "Directive 2008/50/EC", "Annex XI, section B; Annex XII, section A", _URL_2008
)
_EU_2008_OZONE: Final = PresetCitation("Directive 2008/50/EC", "Annex XII, section B", _URL_2008)


def _recast(article: str) -> PresetCitation:
    # The annex was read in a transcription, not in the Official Journal itself.
    url = "https://eur-lex.europa.eu/eli/dir/2024/2881/oj"
    return PresetCitation("Directive (EU) 2024/2881", article, url, unverified=True)


_LIMITS_NOW: Final = _recast("Annex I, section 1, table 2")
_LIMITS_2030: Final = _recast("Annex I, section 1, table 1 (to be attained by 1 January 2030)")
_THRESHOLDS: Final = _recast("Annex I, section 4")

_INFORM: Final = PresetText(
    "Check against the regional air quality network, then inform people as your plan says: sensitive people "
    "stay indoors and avoid effort.",
    "Vérifiez auprès du réseau régional de surveillance, puis informez la population selon votre plan : les "
    "personnes sensibles restent à l'intérieur et évitent les efforts.",
)

_LIMIT: Final = PresetText("EU limit value", "Valeur limite européenne")
_FORMER: Final = PresetText("EU limit value of 2008", "Valeur limite européenne de 2008")
_LATER: Final = PresetText("EU limit value of 2030", "Valeur limite européenne de 2030")
_LEVELS: Final = PresetText("EU thresholds", "Seuils européens")
_FORMER_LEVELS: Final = PresetText("EU thresholds of 2008", "Seuils européens de 2008")
# The third hourly mean in a row is complete two hours after the first.
_THREE_HOURS: Final = {"for": "PT2H"}


def _slug(metric: str, window: str) -> str:
    return f"{metric.replace('_', '-')}-{window[2:].lower()}"


def _allowed(threshold: float, unit: str, over: PresetText, times: int | None) -> PresetText:
    often = PresetText("", "")
    if times is not None:
        often = PresetText(
            f" It may be passed {times} times a year.", f" Elle peut être dépassée {times} fois par an."
        )
    return PresetText(
        f"The mean {over.en} is above {threshold:g} {unit}, the limit value.{often.en}",
        f"La moyenne {over.fr} dépasse {threshold:g} {unit}, la valeur limite.{often.fr}",
    )


def _limit(
    metric: str, threshold: float, window: str, times: int | None, unit: str = "µg/m³"
) -> tuple[Preset, ...]:
    """Makes the presets of a limit value that both directives have: the former's, and the recast's."""
    description = _allowed(threshold, unit, WINDOW_WORDS[window], times)
    slug = _slug(metric, window)
    level: PresetLevel = ("warning", threshold, {})
    return tuple(
        make_mean_preset(
            preset, source, citation, metric, window, level, description=description, applies=applies
        )
        for preset, source, citation, applies in (
            (f"eu-{slug}", _FORMER, _EU_2008, _UNTIL_RECAST),
            (f"eu-2026-{slug}", _LIMIT, _LIMITS_NOW, _UNTIL_2030),
        )
    )


def _limit_of_2030(
    metric: str, threshold: float, window: str, times: int | None, unit: str = "µg/m³"
) -> Preset:
    known = _allowed(threshold, unit, WINDOW_WORDS[window], times)
    return make_mean_preset(
        f"eu-2030-{_slug(metric, window)}",
        _LATER,
        _LIMITS_2030,
        metric,
        window,
        ("info", threshold, {}),
        description=PresetText(
            f"{known.en} It applies from 2030 on.", f"{known.fr} Elle s'applique dès 2030."
        ),
        applies=_FROM_2030,
    )


def _limit_with_alert_of_2008(metric: str, limit: float, times: int, alert: float) -> Preset:
    """Makes the preset of an hourly limit value and the alert threshold of three hours in a row."""
    known = _allowed(limit, "µg/m³", WINDOW_WORDS["PT1H"], times)
    return make_mean_preset(
        f"eu-{metric}-1h",
        _FORMER,
        _EU_2008_ALERT,
        metric,
        "PT1H",
        ("warning", limit, {}),
        ("critical", alert, _THREE_HOURS),
        description=PresetText(
            f"{known.en} Critical: above {alert:g} µg/m³ in three consecutive hours, the alert threshold.",
            f"{known.fr} Critique : au-dessus de {alert:g} µg/m³ trois heures de suite, le seuil d'alerte.",
        ),
        advice=_INFORM,
        applies=_UNTIL_RECAST,
    )


def _hourly_limit_of_2026(metric: str, limit: float, times: int) -> Preset:
    return make_mean_preset(
        f"eu-2026-{metric}-1h",
        _LIMIT,
        _LIMITS_NOW,
        metric,
        "PT1H",
        ("warning", limit, {}),
        description=_allowed(limit, "µg/m³", WINDOW_WORDS["PT1H"], times),
        applies=_UNTIL_2030,
    )


def _hourly_thresholds(metric: str, information: float, alert: float) -> Preset:
    """Makes the preset of an information threshold and an alert threshold of three hours in a row."""
    return make_mean_preset(
        f"eu-2026-thresholds-{metric}",
        _LEVELS,
        _THRESHOLDS,
        metric,
        "PT1H",
        ("warning", information, {}),
        ("critical", alert, _THREE_HOURS),
        description=PresetText(
            f"The mean over an hour is above {information:g} µg/m³, from which sensitive people have to be "
            f"informed. Critical: above {alert:g} µg/m³ in three consecutive hours, the alert threshold.",
            f"La moyenne sur une heure dépasse {information:g} µg/m³, seuil d'information des personnes "
            f"sensibles. Critique : au-dessus de {alert:g} µg/m³ trois heures de suite, le seuil d'alerte.",
        ),
        advice=_INFORM,
        applies=_FROM_RECAST,
    )


def _daily_thresholds(metric: str, level: float) -> Preset:
    """Makes the preset of a daily mean that is both the information and the alert threshold."""
    name = METRIC_WORDS[metric]
    return make_mean_preset(
        f"eu-2026-thresholds-{metric.replace('_', '-')}",
        _LEVELS,
        _THRESHOLDS,
        metric,
        "PT24H",
        ("critical", level, {}),
        description=PresetText(
            f"The mean over 24 hours is above {level:g} µg/m³: the information threshold of {name.en}, and "
            "its alert threshold, which authorities assess over up to three days.",
            f"La moyenne sur 24 heures dépasse {level:g} µg/m³ : le seuil d'information des {name.fr}, et "
            "leur seuil d'alerte, que les autorités apprécient sur trois jours au plus.",
        ),
        advice=_INFORM,
        applies=_FROM_RECAST,
    )


def _ozone(preset: str, source: PresetText, citation: PresetCitation, applies: LegalValidity) -> Preset:
    return make_mean_preset(
        preset,
        source,
        citation,
        "o3",
        "PT1H",
        ("warning", 180, {}),
        ("critical", 240, {}),
        description=PresetText(
            "The mean over an hour is above 180 µg/m³, from which sensitive people have to be informed; "
            "critical above 240 µg/m³, from which everybody is at risk.",
            "La moyenne sur une heure dépasse 180 µg/m³, seuil d'information des personnes sensibles ; "
            "critique au-dessus de 240 µg/m³, seuil d'alerte pour toute la population.",
        ),
        advice=_INFORM,
        applies=applies,
    )


PRESETS: Final = (
    _limit_with_alert_of_2008("no2", 200, 18, 400),
    _limit_with_alert_of_2008("so2", 350, 24, 500),
    _hourly_limit_of_2026("no2", 200, 18),
    _hourly_limit_of_2026("so2", 350, 24),
    *_limit("so2", 125, "PT24H", 3),
    *_limit("pm10", 50, "PT24H", 35),
    *_limit("co", 10, "PT8H", None, "mg/m³"),
    _ozone("eu-o3-1h", _FORMER_LEVELS, _EU_2008_OZONE, _UNTIL_RECAST),
    _ozone("eu-2026-thresholds-o3", _LEVELS, _THRESHOLDS, _FROM_RECAST),
    _hourly_thresholds("no2", 150, 200),
    _hourly_thresholds("so2", 275, 350),
    _daily_thresholds("pm10", 90),
    _daily_thresholds("pm2_5", 50),
    _limit_of_2030("pm2_5", 25, "PT24H", 18),
    _limit_of_2030("pm10", 45, "PT24H", 18),
    _limit_of_2030("no2", 200, "PT1H", 3),
    _limit_of_2030("no2", 50, "PT24H", 18),
    _limit_of_2030("so2", 350, "PT1H", 3),
    _limit_of_2030("so2", 50, "PT24H", 18),
    _limit_of_2030("co", 10, "PT8H", None, "mg/m³"),
    _limit_of_2030("co", 4, "PT24H", 18, "mg/m³"),
)
"""The law until 11 December 2026, the law after that, and the limit values from 2030."""
