"""Defines presets for indoor air, damp and light."""

from typing import Final

from app.rules.presets.preset_types import Preset, PresetCitation, PresetRule, PresetText

_ROOMS: Final = ("office", "school", "home", "hospital", "museum")
_PUBLIC: Final = ("school", "office", "hospital")
_COVERAGE: Final = 75

# 24.055 l/mol at 20 °C and 24.465 l/mol at 25 °C (1013.25 hPa), 30.026 g/mol: 100 µg/m³ are 80.1 or 81.5 ppb.
FORMALDEHYDE_PPB: Final = 80

_CO2_TITLE: Final = PresetText("Indoor CO₂: air out", "CO₂ intérieur : aérer")
_CO2: Final = Preset(
    "indoor-co2",
    1,
    _CO2_TITLE,
    PresetText(
        "CO₂ shows how stale the air of an occupied room is. Up to 800 ppm is satisfactory; above 1,500 ppm "
        "the airing is insufficient.",
        "Le CO₂ dit combien l'air d'une pièce occupée est confiné. Jusqu'à 800 ppm, c'est satisfaisant ; "
        "au-dessus de 1 500 ppm, l'aération est insuffisante.",
    ),
    PresetText(
        "Open windows, or raise the ventilation. If it comes back every day, fewer people or more air are "
        "needed.",
        "Ouvrez les fenêtres, ou augmentez la ventilation. Si cela revient chaque jour, il faut moins de "
        "monde ou plus d'air.",
    ),
    PresetCitation(
        "Arrêté du 27 décembre 2022 (France), mesure à lecture directe du CO₂ dans l'air intérieur"
    ),
    _ROOMS,
    (
        PresetRule(
            _CO2_TITLE,
            {
                "levels": [
                    {
                        "severity": "info",
                        "condition": {
                            "metric": "co2",
                            "operator": ">",
                            "threshold": 800,
                            "clear": 700,
                            "for": "PT10M",
                        },
                    },
                    {
                        "severity": "warning",
                        "condition": {
                            "metric": "co2",
                            "operator": ">",
                            "threshold": 1500,
                            "clear": 1300,
                            "for": "PT10M",
                        },
                    },
                ]
            },
        ),
    ),
)

_HCHO_TITLE: Final = PresetText(
    "Indoor formaldehyde above 100 µg/m³", "Formaldéhyde intérieur au-dessus de 100 µg/m³"
)
_HCHO: Final = Preset(
    "indoor-formaldehyde",
    1,
    _HCHO_TITLE,
    PresetText(
        f"The mean over an hour is above {FORMALDEHYDE_PPB} ppb. 100 µg/m³ of formaldehyde, from which one "
        "has to act, are 80.1 ppb at 20 °C and 81.5 ppb at 25 °C (1013 hPa). The value is meant for one to "
        "four hours.",
        f"La moyenne sur une heure dépasse {FORMALDEHYDE_PPB} ppb. 100 µg/m³ de formaldéhyde, à partir "
        "desquels il faut agir, font 80,1 ppb à 20 °C et 81,5 ppb à 25 °C (1013 hPa). La valeur vaut pour "
        "une à quatre heures.",
    ),
    PresetText(
        "Air the room immediately, then look for the source: new furniture, glue, paint, cleaning products.",
        "Aérez tout de suite, puis cherchez la source : meubles neufs, colle, peinture, produits "
        "d'entretien.",
    ),
    PresetCitation(
        "Haut Conseil de la santé publique (France), 2019: valeurs repères du formaldéhyde dans l'air "
        "intérieur",
        unverified=True,
    ),
    _ROOMS,
    (
        PresetRule(
            _HCHO_TITLE,
            {
                "severity": "warning",
                "condition": {
                    "metric": "hcho",
                    "function": "mean",
                    "window": "PT1H",
                    "operator": ">",
                    "threshold": FORMALDEHYDE_PPB,
                    "clear": 65,
                },
            },
        ),
    ),
)

_BENZENE_TITLE: Final = PresetText("Indoor benzene above 10 µg/m³", "Benzène intérieur au-dessus de 10 µg/m³")
_BENZENE: Final = Preset(
    "indoor-benzene",
    1,
    _BENZENE_TITLE,
    PresetText(
        "The mean over 24 hours is above 10 µg/m³, from which one has to act. The guide value for a whole "
        "year is 2 µg/m³.",
        "La moyenne sur 24 heures dépasse 10 µg/m³, à partir desquels il faut agir. La valeur-guide sur une "
        "année est de 2 µg/m³.",
    ),
    PresetText(
        "Air out, and look for the source: exhaust gas from a garage or a street, a heater, solvents.",
        "Aérez et cherchez la source : gaz d'échappement d'un garage ou d'une rue, chauffage, solvants.",
    ),
    PresetCitation(
        "Code de l'environnement (France), surveillance de la qualité de l'air intérieur",
        "Annexe de l'article R221-29; décret n° 2012-14",
        unverified=True,
    ),
    _PUBLIC,
    (
        PresetRule(
            _BENZENE_TITLE,
            {
                "severity": "warning",
                "condition": {
                    "metric": "benzene",
                    "function": "mean",
                    "window": "PT24H",
                    "coverage": _COVERAGE,
                    "operator": ">",
                    "threshold": 10,
                    "clear": 9,
                },
            },
        ),
    ),
)

_MOULD_TITLE: Final = PresetText("Mould may grow", "Risque de moisissures")
_MOULD: Final = Preset(
    "mould-risk",
    1,
    _MOULD_TITLE,
    PresetText(
        "The mean of the relative humidity over 24 hours is at or above 80 %, above freezing: what mould "
        "needs to begin, in the VTT model simplified to its limit at room temperature. The model wants the "
        "humidity at the surface. This is the air's: a cold wall is damper, so no alert does not mean no "
        "mould.",
        "La moyenne de l'humidité relative sur 24 heures atteint 80 %, hors gel : ce qu'il faut aux "
        "moisissures, selon le modèle VTT ramené à sa limite à température ambiante. Le modèle demande "
        "l'humidité à la surface. Ici c'est celle de l'air : un mur froid est plus humide, donc pas d'alerte "
        "ne veut pas dire pas de moisissures.",
    ),
    PresetText(
        "Air and heat the room, look for water, and look at cold corners and behind furniture.",
        "Aérez et chauffez la pièce, cherchez une venue d'eau, regardez les angles froids et derrière les "
        "meubles.",
    ),
    PresetCitation("Hukka & Viitanen (1999), Wood Science and Technology 33: the VTT model, simplified"),
    _ROOMS,
    (
        PresetRule(
            _MOULD_TITLE,
            {
                "severity": "warning",
                "condition": {
                    "all": [
                        {
                            "metric": "humidity",
                            "function": "mean",
                            "window": "PT24H",
                            "coverage": _COVERAGE,
                            "operator": ">=",
                            "threshold": 80,
                            "clear": 75,
                        },
                        {
                            "metric": "temperature",
                            "function": "mean",
                            "window": "PT24H",
                            "operator": ">",
                            "threshold": 0,
                        },
                    ]
                },
            },
        ),
    ),
)

_MITES_TITLE: Final = PresetText("House-dust mites thrive", "Conditions favorables aux acariens")
_MITES: Final = Preset(
    "dust-mites",
    1,
    _MITES_TITLE,
    PresetText(
        "Over 24 hours the mean humidity is above 65 % and the mean temperature within 20 and 30 °C: mites "
        "keep their water. Below 50 % they die within days.",
        "Sur 24 heures, l'humidité moyenne dépasse 65 % et la température moyenne est entre 20 et 30 °C : "
        "les acariens gardent leur eau. Sous 50 %, ils meurent en quelques jours.",
    ),
    PresetText(
        "Air out, dry and cool the room; bedding matters most.",
        "Aérez, asséchez et rafraîchissez la pièce ; la literie compte le plus.",
    ),
    PresetCitation(
        "Arlian et al., water balance of house-dust mites (PubMed 10518832, 1493744)",
        url="https://pubmed.ncbi.nlm.nih.gov/10518832/",
    ),
    ("home", "hospital", "school"),
    (
        PresetRule(
            _MITES_TITLE,
            {
                "severity": "info",
                "condition": {
                    "all": [
                        {
                            "metric": "humidity",
                            "function": "mean",
                            "window": "PT24H",
                            "coverage": _COVERAGE,
                            "operator": ">",
                            "threshold": 65,
                            "clear": 60,
                        },
                        {
                            "metric": "temperature",
                            "function": "mean",
                            "window": "PT24H",
                            "operator": "inside",
                            "low": 20,
                            "high": 30,
                            "margin": 1,
                        },
                    ]
                },
            },
        ),
    ),
)

_LIGHT_TITLE: Final = PresetText("Too dark at the desk", "Trop sombre au poste de travail")
_LIGHT: Final = Preset(
    "desk-light",
    1,
    _LIGHT_TITLE,
    PresetText(
        "Less than 500 lx for 15 minutes, Monday to Friday from 8 to 18 h: what writing, reading and work at "
        "a screen need. The box has to lie on the desk; corridors and archives need less.",
        "Moins de 500 lx pendant 15 minutes, du lundi au vendredi de 8 à 18 h : ce que demandent l'écriture, "
        "la lecture et le travail sur écran. Le boîtier doit être sur le bureau ; couloirs et archives "
        "demandent moins.",
    ),
    PresetText(
        "Add light, or move the desk to a window.",
        "Ajoutez de la lumière, ou rapprochez le bureau d'une fenêtre.",
    ),
    PresetCitation("EN 12464-1, lighting of indoor work places", unverified=True),
    ("office", "school"),
    (
        PresetRule(
            _LIGHT_TITLE,
            {
                "severity": "info",
                "active": [{"days": ["mon", "tue", "wed", "thu", "fri"], "from": "08:00", "to": "18:00"}],
                "condition": {
                    "metric": "illuminance",
                    "operator": "<",
                    "threshold": 500,
                    "clear": 550,
                    "for": "PT15M",
                },
            },
        ),
    ),
)

PRESETS: Final = (_CO2, _HCHO, _BENZENE, _MOULD, _MITES, _LIGHT)
