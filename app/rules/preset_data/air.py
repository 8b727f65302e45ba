"""Outdoor air: guidelines of the WHO, limit values and thresholds of the European Union.

All are means over a window that moves with the samples. The texts mean whole hours or days of the clock, and
allow some of the limit values to be exceeded a number of times a year: an alert says that a value was passed,
not that the law was broken.
"""

from typing import Any, Final

from app.rules.preset_data.shape import Citation, Preset, PresetRule, Text

_OUTDOORS: Final = ("street", "square", "park", "school", "industry", "port", "airport")
# What both directives ask of the values of an hour or a day before their mean counts.
_COVERAGE: Final = 75
# It resolves some way below the limit: a mean that hovers about it makes one alert, not twenty.
_CLEAR: Final = 0.9
_OF: Final = {
    "pm2_5": Text("PM2.5", "PM2,5"),
    "pm10": Text("PM10", "PM10"),
    "no2": Text("NO₂", "NO₂"),
    "so2": Text("SO₂", "SO₂"),
    "co": Text("CO", "CO"),
    "o3": Text("ozone", "ozone"),
}
_OVER: Final = {
    "PT1H": Text("over an hour", "sur une heure"),
    "PT8H": Text("over 8 hours", "sur 8 heures"),
    "PT24H": Text("over 24 hours", "sur 24 heures"),
}

_WHO: Final = Citation(
    "WHO global air quality guidelines (2021)",
    "Table 0.1: recommended short-term levels",
    "https://www.who.int/publications/i/item/9789240034228",
)
_EU_2008: Final = Citation(
    "Directive 2008/50/EC", "Annex XI, section B", "https://eur-lex.europa.eu/eli/dir/2008/50/oj"
)
_EU_2008_ALERT: Final = Citation(
    "Directive 2008/50/EC",
    "Annex XI, section B; Annex XII, section A",
    "https://eur-lex.europa.eu/eli/dir/2008/50/oj",
)
_EU_2008_OZONE: Final = Citation(
    "Directive 2008/50/EC", "Annex XII, section B", "https://eur-lex.europa.eu/eli/dir/2008/50/oj"
)


def _eu_2030(*, unverified: bool) -> Citation:
    return Citation(
        "Directive (EU) 2024/2881, limit values to be attained by 1 January 2030",
        "Annex I, section 1, table 1",
        "https://eur-lex.europa.eu/eli/dir/2024/2881/oj",
        unverified=unverified,
    )


_AVOID: Final = Text(
    "Look for a source nearby (works, traffic, fire) and compare with other boxes. If it is no fault of one "
    "box, advise sensitive people to avoid effort outdoors.",
    "Cherchez une source proche (chantier, trafic, feu) et comparez avec d'autres capteurs. Si ce n'est pas "
    "un défaut du capteur, conseillez aux personnes sensibles d'éviter les efforts dehors.",
)
_INFORM: Final = Text(
    "Check against the regional air quality network, then inform people as your plan says: sensitive people "
    "stay indoors and avoid effort.",
    "Vérifiez auprès du réseau régional de surveillance, puis informez la population selon votre plan : les "
    "personnes sensibles restent à l'intérieur et évitent les efforts.",
)


def _mean(metric: str, threshold: float, window: str, **more: Any) -> dict[str, Any]:  # noqa: ANN401 (JSON)
    return {
        "metric": metric,
        "function": "mean",
        "window": window,
        "coverage": _COVERAGE,
        "operator": ">",
        "threshold": threshold,
        "clear": round(threshold * _CLEAR, 1),
        **more,
    }


def _limit(
    preset: str,
    source: Text,
    citation: Citation,
    metric: str,
    window: str,
    *levels: tuple[str, float, dict[str, Any]],
    description: Text,
    advice: Text = _AVOID,
) -> Preset:
    """A preset of one rule on the mean of a metric; `levels`: severity, threshold, more of the condition."""
    of, over = _OF[metric], _OVER[window]
    title = Text(f"{source.en}: {of.en} {over.en}", f"{source.fr} : {of.fr} {over.fr}")
    made = [
        {"severity": severity, "condition": _mean(metric, threshold, window, **more)}
        for severity, threshold, more in levels
    ]
    body = made[0] if len(made) == 1 else {"levels": made}
    return Preset(preset, 1, title, description, advice, citation, _OUTDOORS, (PresetRule(title, body),))


_GUIDELINE: Final = Text("WHO guideline", "Ligne directrice de l'OMS")
_LIMIT: Final = Text("EU limit value", "Valeur limite européenne")
_LATER: Final = Text("EU limit value of 2030", "Valeur limite européenne de 2030")


def _who(metric: str, threshold: float, window: str, unit: str = "µg/m³") -> Preset:
    over = _OVER[window]
    return _limit(
        f"who-{metric.replace('_', '-')}-{window[2:].lower()}",
        _GUIDELINE,
        _WHO,
        metric,
        window,
        ("info", threshold, {}),
        description=Text(
            f"The mean {over.en} is above {threshold:g} {unit}, the level of 2021 for health. The guideline "
            "allows three to four such days a year.",
            f"La moyenne {over.fr} dépasse {threshold:g} {unit}, le niveau de 2021 pour la santé. La ligne "
            "directrice admet trois à quatre jours de ce genre par an.",
        ),
    )


def _allowed(threshold: float, unit: str, over: Text, times: int | None) -> Text:
    often = Text("", "")
    if times is not None:
        often = Text(
            f" It may be passed {times} times a year.", f" Elle peut être dépassée {times} fois par an."
        )
    return Text(
        f"The mean {over.en} is above {threshold:g} {unit}, the limit value.{often.en}",
        f"La moyenne {over.fr} dépasse {threshold:g} {unit}, la valeur limite.{often.fr}",
    )


def _eu(metric: str, threshold: float, window: str, times: int | None, unit: str = "µg/m³") -> Preset:
    return _limit(
        f"eu-{metric.replace('_', '-')}-{window[2:].lower()}",
        _LIMIT,
        _EU_2008,
        metric,
        window,
        ("warning", threshold, {}),
        description=_allowed(threshold, unit, _OVER[window], times),
    )


def _eu_later(metric: str, threshold: float, unit: str = "µg/m³", *, unverified: bool = False) -> Preset:
    return _limit(
        f"eu-2030-{metric.replace('_', '-')}-24h",
        _LATER,
        _eu_2030(unverified=unverified),
        metric,
        "PT24H",
        ("info", threshold, {}),
        description=Text(
            f"The mean over 24 hours is above {threshold:g} {unit}, the daily limit value from 2030 on.",
            f"La moyenne sur 24 heures dépasse {threshold:g} {unit}, la valeur limite journalière à partir "
            "de 2030.",
        ),
    )


def _with_alert(metric: str, limit: float, times: int, alert: float) -> Preset:
    """An hourly limit value, and the alert threshold that three hours in a row have to pass."""
    known = _allowed(limit, "µg/m³", _OVER["PT1H"], times)
    return _limit(
        f"eu-{metric}-1h",
        _LIMIT,
        _EU_2008_ALERT,
        metric,
        "PT1H",
        ("warning", limit, {}),
        # The third hourly mean in a row is complete two hours after the first.
        ("critical", alert, {"for": "PT2H"}),
        description=Text(
            f"{known.en} Critical: above {alert:g} µg/m³ in three consecutive hours, the alert threshold.",
            f"{known.fr} Critique : au-dessus de {alert:g} µg/m³ trois heures de suite, le seuil d'alerte.",
        ),
        advice=_INFORM,
    )


PRESETS: Final = (
    _who("pm2_5", 15, "PT24H"),
    _who("pm10", 45, "PT24H"),
    _who("no2", 25, "PT24H"),
    _who("so2", 40, "PT24H"),
    _who("co", 4, "PT24H", "mg/m³"),
    _who("o3", 100, "PT8H"),
    _with_alert("no2", 200, 18, 400),
    _with_alert("so2", 350, 24, 500),
    _eu("so2", 125, "PT24H", 3),
    _eu("pm10", 50, "PT24H", 35),
    _eu("co", 10, "PT8H", None, "mg/m³"),
    _limit(
        "eu-o3-1h",
        Text("EU thresholds", "Seuils européens"),
        _EU_2008_OZONE,
        "o3",
        "PT1H",
        ("warning", 180, {}),
        ("critical", 240, {}),
        description=Text(
            "The mean over an hour is above 180 µg/m³, from which sensitive people have to be informed; "
            "critical above 240 µg/m³, from which everybody is at risk.",
            "La moyenne sur une heure dépasse 180 µg/m³, seuil d'information des personnes sensibles ; "
            "critique au-dessus de 240 µg/m³, seuil d'alerte pour toute la population.",
        ),
        advice=_INFORM,
    ),
    _eu_later("pm2_5", 25),
    _eu_later("pm10", 45),
    _eu_later("no2", 50),
    _eu_later("so2", 50, unverified=True),
    _eu_later("co", 4, "mg/m³", unverified=True),
)
"""Guidelines first, then what is law, then what will be."""
