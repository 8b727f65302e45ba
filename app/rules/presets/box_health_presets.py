"""Defines rule presets for the health of boxes: silence, stuck sensors, low batteries, tampering.

The thresholds are our choice for boxes that send about every minute.
"""

from typing import Any, Final

from app.rules.presets.preset_types import Preset, PresetRule, PresetText

# One rule per metric: with a single rule, a metric that a box lacks would make the others unknown.
_STUCK_METRICS: Final = {
    "pm2_5": PresetText("PM2.5", "PM2,5"),
    "no2": PresetText("NO₂", "NO₂"),
    "o3": PresetText("Ozone", "Ozone"),
    "laeq": PresetText("Noise", "Bruit"),
    "temperature": PresetText("Temperature", "Température"),
}
_WHICH: Final = PresetText(
    "It watches PM2.5, NO₂, ozone, noise (LAeq) and temperature, with a rule for each; for another metric, "
    "make a rule of the same kind.",
    "Sont suivis les PM2,5, le NO₂, l'ozone, le bruit (LAeq) et la température, par une règle chacun ; pour "
    "une autre mesure, créez une règle semblable.",
)
_VISIT: Final = PresetText(
    "Look at the box: power, radio, antenna. If other boxes of the site are silent too, look at the gateway.",
    "Allez voir le boîtier : alimentation, radio, antenne. Si d'autres boîtiers du site se taisent, voyez la "
    "passerelle.",
)
_SENSOR: Final = PresetText(
    "Restart the box; if it stays so, have the sensor cleaned or replaced. Do not trust its values "
    "until then.",
    "Redémarrez le boîtier ; si cela dure, faites nettoyer ou remplacer l'élément. D'ici là, ne vous fiez "
    "pas à ses valeurs.",
)


def _one(
    preset: str, title: PresetText, description: PresetText, advice: PresetText, *, condition: dict[str, Any]
) -> Preset:
    rule = PresetRule(title, {"severity": "warning", "condition": condition})
    return Preset(preset, 1, title, description, advice, None, (), (rule,))


def _silent_metric(metric: str, of: PresetText) -> PresetRule:
    return PresetRule(
        PresetText(f"{of.en}: values are missing", f"{of.fr} : mesures absentes"),
        {
            "severity": "warning",
            "condition": {"all": [{"no_data": "PT1H", "metric": metric}, {"not": {"no_data": "PT15M"}}]},
        },
    )


def _flat(metric: str, of: PresetText) -> PresetRule:
    return PresetRule(
        PresetText(f"{of.en}: the value does not move", f"{of.fr} : valeur figée"),
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
    PresetText("Somebody handles the box", "Quelqu'un manipule le boîtier"),
    PresetText(
        "The box sent a `tamper` event: it was opened, moved or struck.",
        "Le boîtier a envoyé un événement `tamper` : il a été ouvert, déplacé ou heurté.",
    ),
    PresetText(
        "If no technician is there, look at the box, and renew its credentials if it was opened.",
        "Si aucun technicien n'est sur place, allez voir le boîtier et renouvelez ses identifiants s'il a "
        "été ouvert.",
    ),
    condition={"event": "tamper", "window": "PT15M"},
)
_SILENT: Final = _one(
    "box-silent",
    PresetText("A box is silent", "Un boîtier se tait"),
    PresetText(
        "Nothing came from a box for 15 minutes. For boxes that send less often, choose a longer time.",
        "Rien n'est venu d'un boîtier depuis 15 minutes. Pour des boîtiers qui envoient moins souvent, "
        "choisissez plus long.",
    ),
    _VISIT,
    condition={"no_data": "PT15M"},
)
_SITE_SILENT: Final = Preset(
    "site-silent",
    1,
    PresetText("A whole site is silent", "Tout un site se tait"),
    PresetText(
        "Nothing came for 10 minutes from 90 % of a site's boxes. It fires before `box-silent` does, and "
        "goes on for 30 minutes after boxes have come back: an inhibition from this rule to that of "
        "`box-silent`, equal in `site`, mutes the alerts of single boxes during that time. A box that never "
        "sent anything counts among all, and not among the silent: where such boxes are more than a tenth, "
        "give the rule a `scope`. For boxes that send less often than every few minutes, choose longer "
        "times.",
        "Rien n'est venu depuis 10 minutes de 90 % des boîtiers d'un site. L'alerte part avant celle de "
        "`box-silent` et dure encore 30 minutes après le retour des boîtiers : une inhibition de cette règle "
        "vers celle de `box-silent`, égale en `site`, fait taire entre-temps les alertes des boîtiers un à "
        "un. Un boîtier qui n'a jamais rien envoyé compte dans le total, mais pas parmi les muets : s'ils "
        "sont plus d'un dixième, donnez à la règle un `scope`. Pour des boîtiers qui envoient moins souvent "
        "que toutes les quelques minutes, choisissez plus long.",
    ),
    PresetText(
        "Look at what the boxes share: power, gateway, network. If all is well there, visit the site.",
        "Voyez ce que les boîtiers partagent : alimentation, passerelle, réseau. Si tout y va bien, allez "
        "sur place.",
    ),
    None,
    (),
    (
        PresetRule(
            PresetText("A whole site is silent", "Tout un site se tait"),
            {
                "severity": "critical",
                "condition": {"boxes": {"no_data": "PT10M"}, "share": 90, "keep_firing_for": "PT30M"},
            },
        ),
    ),
)
_METRIC_SILENT: Final = Preset(
    "metric-silent",
    2,
    PresetText("A box sends, but not everything", "Un boîtier envoie, mais pas tout"),
    PresetText(
        "A metric that a box had sent is missing for an hour, while the box goes on sending others. "
        f"{_WHICH.en}",
        "Une mesure qu'un boîtier envoyait manque depuis une heure, alors qu'il en envoie d'autres. "
        f"{_WHICH.fr}",
    ),
    _SENSOR,
    None,
    (),
    tuple(_silent_metric(metric, of) for metric, of in _STUCK_METRICS.items()),
)
_FLAT: Final = Preset(
    "flat-line",
    2,
    PresetText("A sensor hangs", "Un élément de mesure est figé"),
    PresetText(
        f"A metric had one and the same value for six hours: the air is never so still. {_WHICH.en}",
        "Une mesure a eu une seule et même valeur pendant six heures : l'air n'est jamais si calme. "
        f"{_WHICH.fr}",
    ),
    _SENSOR,
    None,
    (),
    tuple(_flat(metric, of) for metric, of in _STUCK_METRICS.items()),
)
_BATTERY_TITLE: Final = PresetText("Low battery", "Batterie faible")
_BATTERY: Final = Preset(
    "low-battery",
    1,
    _BATTERY_TITLE,
    PresetText(
        "The battery is below 20 %; critical below 10 %.",
        "La batterie est sous 20 % ; critique sous 10 %.",
    ),
    PresetText(
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

PRESETS: Final = (_TAMPER, _SILENT, _SITE_SILENT, _METRIC_SILENT, _FLAT, _BATTERY)
