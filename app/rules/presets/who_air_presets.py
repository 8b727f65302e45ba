"""Defines rule presets for outdoor air from WHO guidelines, and builds presets on sliding means.

All use means over a window that slides with the samples. The texts of law mean whole hours or days of the
clock, and allow some limit values to be exceeded a number of times a year. So an alert says that a value was
exceeded, not that the law was broken.
"""

from typing import Any, Final

from app.rules.presets.preset_types import (
    ALWAYS,
    LegalValidity,
    Preset,
    PresetCitation,
    PresetRule,
    PresetText,
)

_OUTDOORS: Final = ("street", "square", "park", "school", "industry", "port", "airport")
# The percentage of values that European law requires for the mean of an hour or a day.
_COVERAGE: Final = 75
# Alerts resolve 10 % below the limit: a mean that hovers around it makes one alert, not twenty.
_CLEAR: Final = 0.9
METRIC_WORDS: Final = {
    "pm2_5": PresetText("PM2.5", "PM2,5"),
    "pm10": PresetText("PM10", "PM10"),
    "no2": PresetText("NO₂", "NO₂"),
    "so2": PresetText("SO₂", "SO₂"),
    "co": PresetText("CO", "CO"),
    "o3": PresetText("ozone", "ozone"),
}
WINDOW_WORDS: Final = {
    "PT1H": PresetText("over an hour", "sur une heure"),
    "PT8H": PresetText("over 8 hours", "sur 8 heures"),
    "PT24H": PresetText("over 24 hours", "sur 24 heures"),
}

type PresetLevel = tuple[str, float, dict[str, Any]]
"""A severity, its threshold in the unit of the metric, and further fields of its condition."""

_WHO: Final = PresetCitation(
    "WHO global air quality guidelines (2021)",
    "Table 0.1: recommended short-term levels",
    "https://www.who.int/publications/i/item/9789240034228",
)

_AVOID: Final = PresetText(
    "Look for a source nearby (works, traffic, fire) and compare with other boxes. If it is no fault of one "
    "box, advise sensitive people to avoid effort outdoors.",
    "Cherchez une source proche (chantier, trafic, feu) et comparez avec d'autres boîtiers. Si ce n'est pas "
    "un défaut du boîtier, conseillez aux personnes sensibles d'éviter les efforts dehors.",
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


def make_mean_preset(
    preset: str,
    source: PresetText,
    citation: PresetCitation,
    metric: str,
    window: str,
    *levels: PresetLevel,
    description: PresetText,
    advice: PresetText = _AVOID,
    applies: LegalValidity = ALWAYS,
) -> Preset:
    """Makes a preset of one rule on the mean of a metric.

    Args:
        preset: its id.
        source: begins its title.
        citation: where the thresholds are from.
        metric: what is averaged.
        window: the length of the mean, ISO 8601.
        levels: severity, threshold in the metric's unit, and more of the condition, for each level.
        description: what the preset watches.
        advice: what to do when it fires.
        applies: from when until when the thresholds apply in law.
    """
    of, over = METRIC_WORDS[metric], WINDOW_WORDS[window]
    title = PresetText(f"{source.en}: {of.en} {over.en}", f"{source.fr} : {of.fr} {over.fr}")
    made = [
        {"severity": severity, "condition": _mean(metric, threshold, window, **more)}
        for severity, threshold, more in levels
    ]
    body = made[0] if len(made) == 1 else {"levels": made}
    rules = (PresetRule(title, body),)
    return Preset(preset, 1, title, description, advice, citation, _OUTDOORS, rules, applies)


_GUIDELINE: Final = PresetText("WHO guideline", "Ligne directrice de l'OMS")


def _who(metric: str, threshold: float, window: str, unit: str = "µg/m³") -> Preset:
    over = WINDOW_WORDS[window]
    return make_mean_preset(
        f"who-{metric.replace('_', '-')}-{window[2:].lower()}",
        _GUIDELINE,
        _WHO,
        metric,
        window,
        ("info", threshold, {}),
        description=PresetText(
            f"The mean {over.en} is above {threshold:g} {unit}, the level of 2021 for health. The guideline "
            "allows three to four such days a year.",
            f"La moyenne {over.fr} dépasse {threshold:g} {unit}, le niveau de 2021 pour la santé. La ligne "
            "directrice admet trois à quatre jours de ce genre par an.",
        ),
    )


PRESETS: Final = (
    _who("pm2_5", 15, "PT24H"),
    _who("pm10", 45, "PT24H"),
    _who("no2", 25, "PT24H"),
    _who("so2", 40, "PT24H"),
    _who("co", 4, "PT24H", "mg/m³"),
    _who("o3", 100, "PT8H"),
)
