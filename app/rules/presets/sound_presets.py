"""Defines ready-made rules (presets) for noise and for sound events such as gunshots."""

from typing import Any, Final

from app.rules.presets.preset_types import Preset, PresetCitation, PresetRule, PresetText

_PLACES: Final = ("street", "square", "park", "school", "airport", "port", "industry", "home")
# The window of the first mean must lie within the night: so the active hours begin one window later.
_NIGHT: Final = [{"from": "23:00", "to": "06:00"}]


def _energy_mean(threshold: Any, window: str, **more: Any) -> dict[str, Any]:  # noqa: ANN401 (JSON)
    return {
        "metric": "laeq",
        "function": "energy_mean",
        "window": window,
        "operator": ">",
        "threshold": threshold,
        **more,
    }


_NIGHT_TITLE: Final = PresetText("Night noise", "Bruit nocturne")
_NIGHT_NOISE: Final = Preset(
    "night-noise",
    1,
    _NIGHT_TITLE,
    PresetText(
        "In the night from 22 to 6 h the energy mean over an hour is above 45 dB(A), what the WHO recommends "
        "for road traffic at night; a warning above 55 dB(A), its interim target. The rule is on from 23 to "
        "6 h: the first hour that lies wholly in the night ends at 23 h. Both numbers are means of all "
        "nights of a year: a single hour is only a hint.",
        "La nuit, de 22 à 6 h, la moyenne énergétique sur une heure dépasse 45 dB(A), la recommandation de "
        "l'OMS pour le trafic routier la nuit ; avertissement au-dessus de 55 dB(A), son objectif "
        "intermédiaire. La règle est active de 23 à 6 h : la première heure entièrement nocturne finit à "
        "23 h. Les deux valeurs sont des moyennes de toutes les nuits d'une année : une heure seule n'est "
        "qu'un indice.",
    ),
    PresetText(
        "See whether it comes back at the same hour: deliveries, terraces and works can be moved.",
        "Voyez si cela revient à la même heure : livraisons, terrasses et chantiers peuvent être déplacés.",
    ),
    PresetCitation(
        "WHO environmental noise guidelines for the European region (2018), road traffic; WHO night noise "
        "guidelines for Europe (2009), interim target"
    ),
    _PLACES,
    (
        PresetRule(
            _NIGHT_TITLE,
            {
                "active": _NIGHT,
                "levels": [
                    {"severity": "info", "condition": _energy_mean(45, "PT1H", clear=43, coverage=75)},
                    {"severity": "warning", "condition": _energy_mean(55, "PT1H", clear=53, coverage=75)},
                ],
            },
        ),
    ),
)


def _emergence(name: PresetText, attribute: str, begin: str, end: str) -> PresetRule:
    return PresetRule(
        name,
        {
            "severity": "warning",
            "active": [{"from": begin, "to": end}],
            "condition": _energy_mean({"attribute": attribute}, "PT30M", coverage=75),
        },
    )


_NEIGHBOURS: Final = Preset(
    "neighbourhood-noise",
    2,
    PresetText("Neighbourhood noise: emergence", "Bruit de voisinage : émergence"),
    PresetText(
        "The energy mean over half an hour is above what is allowed at this place. The law allows so much "
        "above the background: 5 dB(A) from 7 to 22 h, 3 dB(A) at night, and 3 dB(A) more for a noise of 20 "
        "minutes to 2 hours. The rules are on from 7:30 to 22 h and from 22:30 to 7 h: the first half-hours "
        "that lie wholly in the day or the night end then. Measure the background, and set the sums as "
        "attributes of the box or the site: `noise_limit_day` and `noise_limit_night`. Without them it says "
        "nothing.",
        "La moyenne énergétique sur une demi-heure dépasse ce qui est permis ici. La loi permet tant "
        "au-dessus du bruit résiduel : 5 dB(A) de 7 à 22 h, 3 dB(A) la nuit, et 3 dB(A) de plus pour un "
        "bruit de 20 minutes à 2 heures. Les règles sont actives de 7 h 30 à 22 h et de 22 h 30 à 7 h : les "
        "premières demi-heures entièrement de jour ou de nuit finissent alors. Mesurez le bruit résiduel et "
        "donnez les sommes comme attributs du boîtier ou du site : `noise_limit_day` et "
        "`noise_limit_night`. Sans eux, la règle se tait.",
    ),
    PresetText(
        "Find out what makes the noise, and talk to whoever does. A report needs a measurement on the spot.",
        "Cherchez ce qui fait le bruit et parlez à son auteur. Un constat demande une mesure sur place.",
    ),
    PresetCitation(
        "Code de la santé publique (France)",
        "Articles R1336-6 and R1336-7",
    ),
    _PLACES,
    (
        _emergence(
            PresetText("Neighbourhood noise by day", "Bruit de voisinage le jour"),
            "noise_limit_day",
            "07:30",
            "22:00",
        ),
        _emergence(
            PresetText("Neighbourhood noise by night", "Bruit de voisinage la nuit"),
            "noise_limit_night",
            "22:30",
            "07:00",
        ),
    ),
)

_SHOT_TITLE: Final = PresetText("Gunshot", "Coup de feu")
_GUNSHOT: Final = Preset(
    "gunshot",
    1,
    _SHOT_TITLE,
    PresetText(
        "A box recognised a gunshot, with a confidence of 0.8 or more. Fireworks and exhausts are taken for "
        "shots now and then.",
        "Un boîtier a reconnu un coup de feu, avec une confiance d'au moins 0,8. Pétards et échappements "
        "sont parfois pris pour des tirs.",
    ),
    PresetText(
        "See whether other boxes heard it, and follow your procedure. Do not go there alone.",
        "Voyez si d'autres boîtiers l'ont entendu et suivez votre procédure. Personne n'y va seul.",
    ),
    None,
    (),
    (
        PresetRule(
            _SHOT_TITLE,
            {"severity": "critical", "condition": {"event": "gunshot", "confidence": 0.8, "window": "PT5M"}},
        ),
    ),
)

PRESETS: Final = (_NIGHT_NOISE, _NEIGHBOURS, _GUNSHOT)
