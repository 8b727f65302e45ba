"""Defines presets of rules on indices (air, noise, CO2, mould), evaluated per hour, day or four weeks.

They are evaluated at the end of each hour, day or four weeks.
"""

from typing import Any, Final

from app.rules.presets.preset_types import Preset, PresetCitation, PresetRule, PresetText

_OUTDOORS: Final = ("street", "square", "park", "school", "industry", "port", "airport")
_ROOMS: Final = ("office", "school", "home", "hospital", "museum")
_WORKING: Final = [{"days": ["mon", "tue", "wed", "thu", "fri"], "from": "08:00", "to": "18:00"}]


def _classes(index: str, *levels: tuple[str, str], **more: Any) -> dict[str, Any]:  # noqa: ANN401 (JSON)
    """A ladder of (severity, class) of an index."""
    return {
        "levels": [
            {"severity": severity, "condition": {"index": index, "band": band, **more}}
            for severity, band in levels
        ]
    }


_AIR_TITLE: Final = PresetText(
    "European air quality index: poor", "Indice européen de qualité de l'air : mauvais"
)
_AIR: Final = Preset(
    "eaqi-poor",
    1,
    _AIR_TITLE,
    PresetText(
        "The European Air Quality Index of an hour is poor; a warning where it is very poor, critical where "
        "it is extremely poor. The worst pollutant counts, of those that the box measures.",
        "L'indice européen de qualité de l'air d'une heure est mauvais ; avertissement s'il est très "
        "mauvais, critique s'il est extrêmement mauvais. Le pire polluant compte, parmi ceux que le boîtier "
        "mesure.",
    ),
    PresetText(
        "Advise sensitive people to reduce effort outdoors; where it is very poor, everybody.",
        "Conseillez aux personnes sensibles de réduire les efforts dehors ; si l'indice est très mauvais, à "
        "tout le monde.",
    ),
    PresetCitation(
        "ETC HE Report 2024/17: EEA's revision of the European air quality index bands",
        url="https://www.eionet.europa.eu/etcs/etc-he/products/etc-he-products/etc-he-reports/"
        "etc-he-report-2024-17-eeas-revision-of-the-european-air-quality-index-bands",
    ),
    _OUTDOORS,
    (
        PresetRule(
            _AIR_TITLE,
            _classes("eaqi", ("info", "poor"), ("warning", "very_poor"), ("critical", "extremely_poor")),
        ),
    ),
)

_NOISE_TITLE: Final = PresetText(
    "Noise of a day above the limit (Lden)", "Bruit d'une journée au-dessus de la limite (Lden)"
)
_NOISE: Final = Preset(
    "lden-day-limit",
    1,
    _NOISE_TITLE,
    PresetText(
        "The day-evening-night level of a day is above the limit: 68 dB(A), the French one for roads, unless "
        "the box or the site has an attribute `lden_limit` (railways 73, industry 71, airports 55). The law "
        "means a year and facades: a single day is a hint.",
        "Le niveau jour-soir-nuit d'une journée dépasse la limite : 68 dB(A), la valeur française pour les "
        "routes, sauf si le boîtier ou le site a un attribut `lden_limit` (voies ferrées 73, industrie 71, "
        "aérodromes 55). La loi vise une année et les façades : un jour seul n'est qu'un indice.",
    ),
    PresetText(
        "See which part of the day is loud, and whether it comes back: `lden-year` is what the law means.",
        "Voyez quelle partie de la journée est bruyante, et si cela revient : la loi vise `lden-year`.",
    ),
    PresetCitation(
        "Arrêté du 4 avril 2006 relatif à l'établissement des cartes de bruit (France)",
        "Article 7",
        unverified=True,
    ),
    ("street", "square", "park", "school", "airport", "port", "industry", "home"),
    (
        PresetRule(
            _NOISE_TITLE,
            {
                "severity": "warning",
                "condition": {
                    "index": "lden-day",
                    "operator": ">",
                    "threshold": {"attribute": "lden_limit", "default": 68},
                },
            },
        ),
    ),
)

_CO2_TITLE: Final = PresetText("Airing of a room, hour by hour", "Aération d'une pièce, heure par heure")
_CO2: Final = Preset(
    "indoor-co2-class",
    1,
    _CO2_TITLE,
    PresetText(
        "The mean CO₂ of an hour is above 800 ppm: the airing is to be improved; a warning above 1,500 ppm, "
        "where it is insufficient. Monday to Friday from 8 to 18 h. `indoor-co2` is quicker: it evaluates "
        "each sample.",
        "La moyenne de CO₂ d'une heure dépasse 800 ppm : l'aération est à améliorer ; avertissement "
        "au-dessus de 1 500 ppm, où elle est insuffisante. Du lundi au vendredi de 8 à 18 h. `indoor-co2` "
        "est plus rapide : il suit chaque mesure.",
    ),
    PresetText(
        "Open windows, or raise the ventilation, in the hours in which it comes back.",
        "Ouvrez les fenêtres, ou augmentez la ventilation, aux heures où cela revient.",
    ),
    PresetCitation(
        "Arrêté du 27 décembre 2022 (France), mesure à lecture directe du CO₂ dans l'air intérieur"
    ),
    _ROOMS,
    (
        PresetRule(
            _CO2_TITLE,
            {
                **_classes("indoor-co2", ("info", "to_improve"), ("warning", "insufficient"), period="hour"),
                "active": _WORKING,
            },
        ),
    ),
)

_MOULD_TITLE: Final = PresetText("Mould grows (VTT model)", "Des moisissures poussent (modèle VTT)")
_MOULD: Final = Preset(
    "mould-growth",
    1,
    _MOULD_TITLE,
    PresetText(
        "The mould index of the last four weeks, which begin without any, has reached 1: growth under the "
        "microscope, on what is very sensitive; a warning at 3, where it can be seen. It is computed each "
        "day of the air's temperature and humidity: a cold wall is damper.",
        "L'indice de moisissure des quatre dernières semaines, qui commencent sans moisissure, a atteint 1 : "
        "croissance au microscope, sur un support très sensible ; avertissement à 3, où elle se voit. Il est "
        "calculé chaque jour, de la température et de l'humidité de l'air : un mur froid est plus humide.",
    ),
    PresetText(
        "Air and heat the room, look for water, and look at cold corners and behind furniture.",
        "Aérez et chauffez la pièce, cherchez une venue d'eau, regardez les angles froids et derrière les "
        "meubles.",
    ),
    PresetCitation(
        "Hukka and Viitanen, Wood Science and Technology 33 (1999) 475-485: the VTT model",
        url="https://doi.org/10.1007/s002260050131",
        unverified=True,
    ),
    _ROOMS,
    (
        PresetRule(
            _MOULD_TITLE,
            _classes("mould-index", ("info", "microscopic"), ("warning", "visible"), period="weeks"),
        ),
    ),
)

PRESETS: Final = (_AIR, _NOISE, _CO2, _MOULD)
