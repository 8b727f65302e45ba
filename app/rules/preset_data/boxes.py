"""The boxes themselves: silence, sensors that hang, batteries, hands that do not belong there.

The numbers are a choice of ours, made for boxes that send every minute or so.
"""

from typing import Any, Final

from app.rules.preset_data.shape import Preset, PresetRule, Text

# A rule for each: a box that lacks a metric must not keep a rule on another one from being decided.
_WATCHED: Final = ("pm2_5", "no2", "o3", "laeq", "temperature")
_VISIT: Final = Text(
    "Look at the box: power, radio, antenna. If other boxes of the site are silent too, look at the gateway.",
    "Allez voir le capteur : alimentation, radio, antenne. Si d'autres capteurs du site se taisent, voyez la "
    "passerelle.",
)
_SENSOR: Final = Text(
    "Restart the box; if it stays so, have the sensor cleaned or replaced. Do not trust its values "
    "meanwhile.",
    "Redémarrez le capteur ; si cela dure, faites nettoyer ou remplacer l'élément. D'ici là, ne vous fiez "
    "pas à ses valeurs.",
)


def _one(preset: str, title: Text, description: Text, advice: Text, *, condition: dict[str, Any]) -> Preset:
    rule = PresetRule(title, {"severity": "warning", "condition": condition})
    return Preset(preset, 1, title, description, advice, None, (), (rule,))


def _silent_metric(metric: str) -> PresetRule:
    return PresetRule(
        Text(f"No {metric} any more", f"Plus de {metric}"),
        {
            "severity": "warning",
            "condition": {"all": [{"no_data": "PT1H", "metric": metric}, {"not": {"no_data": "PT15M"}}]},
        },
    )


def _flat(metric: str) -> PresetRule:
    return PresetRule(
        Text(f"{metric} does not move", f"{metric} ne bouge plus"),
        {
            "severity": "info",
            "condition": {
                "metric": metric,
                "function": "spread",
                "window": "PT6H",
                "coverage": 50,
                "operator": "<=",
                "threshold": 0,
            },
        },
    )


_TAMPER: Final = _one(
    "tamper",
    Text("Somebody handles the box", "Quelqu'un manipule le capteur"),
    Text(
        "The box sent a `tamper` event: it was opened, moved or struck.",
        "Le capteur a envoyé un événement `tamper` : il a été ouvert, déplacé ou heurté.",
    ),
    Text(
        "If no technician is there, look at the box, and renew its credentials if it was opened.",
        "Si aucun technicien n'est sur place, allez voir le capteur et renouvelez ses identifiants s'il a "
        "été ouvert.",
    ),
    condition={"event": "tamper", "window": "PT15M"},
)
_SILENT: Final = _one(
    "box-silent",
    Text("A box is silent", "Un capteur se tait"),
    Text(
        "Nothing came from a box for 15 minutes. For boxes that send less often, choose a longer time.",
        "Rien n'est venu d'un capteur depuis 15 minutes. Pour des capteurs qui envoient moins souvent, "
        "choisissez plus long.",
    ),
    _VISIT,
    condition={"no_data": "PT15M"},
)
_METRIC_SILENT: Final = Preset(
    "metric-silent",
    1,
    Text("A box sends, but not everything", "Un capteur envoie, mais pas tout"),
    Text(
        "A metric that a box had sent is missing for an hour, while the box goes on sending others.",
        "Une mesure qu'un capteur envoyait manque depuis une heure, alors qu'il en envoie d'autres.",
    ),
    _SENSOR,
    None,
    (),
    tuple(_silent_metric(metric) for metric in _WATCHED),
)
_FLAT: Final = Preset(
    "flat-line",
    1,
    Text("A sensor hangs", "Un élément de mesure est figé"),
    Text(
        "A metric had one and the same value for six hours: the air is never so still.",
        "Une mesure a eu une seule et même valeur pendant six heures : l'air n'est jamais si calme.",
    ),
    _SENSOR,
    None,
    (),
    tuple(_flat(metric) for metric in _WATCHED),
)
_BATTERY_TITLE: Final = Text("Low battery", "Batterie faible")
_BATTERY: Final = Preset(
    "low-battery",
    1,
    _BATTERY_TITLE,
    Text(
        "The battery is below 20 %; critical below 10 %.",
        "La batterie est sous 20 % ; critique sous 10 %.",
    ),
    Text(
        "Plan a visit; look at the solar panel, if there is one.",
        "Prévoyez une visite ; regardez le panneau solaire, s'il y en a un.",
    ),
    None,
    (),
    (
        PresetRule(
            _BATTERY_TITLE,
            {
                "levels": [
                    {
                        "severity": "warning",
                        "condition": {"metric": "battery", "operator": "<", "threshold": 20, "clear": 30},
                    },
                    {
                        "severity": "critical",
                        "condition": {"metric": "battery", "operator": "<", "threshold": 10, "clear": 15},
                    },
                ]
            },
        ),
    ),
)

PRESETS: Final = (_TAMPER, _SILENT, _METRIC_SILENT, _FLAT, _BATTERY)
