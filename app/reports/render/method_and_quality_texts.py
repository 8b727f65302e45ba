"""Holds a report's texts: data quality, methods, sources cited, and required shares of measured time."""

from collections.abc import Mapping
from typing import Final

from app.presentation.translation import BilingualText, translated

DATA_WORDS: Final[Mapping[str, BilingualText]] = {
    # Quality.
    "quality": translated("Data quality"),
    "quality_coverage": translated(
        "Measured: {coverage} of the expected values, over all boxes and quantities."
    ),
    "quality_silent": translated("Silent all the time: {boxes}."),
    "quality_gaps": translated("Hours without any value, of {hours} in the period"),
    "quality_no_gaps": translated("No box was without a value for a whole hour."),
    "gap_total": translated("Hours without values"),
    "gap_longest": translated("In a row at most"),
    "more_boxes": translated("{count} more"),
    "quality_flags": translated("Flags, of {samples} values"),
    "quality_no_flags": translated("None of {samples} values has a flag."),
    "quality_flags_left_out": translated(
        "Flags of single values were not counted: there are too many values for one report."
    ),
    "flag": translated("Flag"),
    "share": translated("Share"),
    "out_of_range": translated("Outside the usual range"),
    "spike": translated("Spike among its neighbours"),
    "flat_line": translated("Unchanged for a long time"),
    "warm_up": translated("Warming up after a gap"),
    "late": translated("Arrived late"),
    "quality_flagged_included": translated(
        "Flagged values are part of all figures: nothing is left out, and nothing is filled in."
    ),
    # How to read it.
    "reading": translated("How to read this"),
    "read_day": translated("Days and hours"),
    "read_day_text": translated(
        "Days go from midnight to midnight by the clocks of the site. A day of noise begins with the "
        "first part of the day ({begin} h) and ends a day later, so that no night is cut in two."
    ),
    "read_measured": translated("Measured"),
    "read_measured_text": translated(
        "The share of a period that was measured, in percent. If it is too small for a method, the reason "
        "is shown instead of a value."
    ),
    "read_sensors": translated("Boxes"),
    "read_sensors_text": translated(
        "The boxes are indicative instruments at one place each. They are not reference stations: their "
        "values apply to their location, and do not prove a breach of the law."
    ),
    "read_worst": translated("Worst value"),
    "read_worst_text": translated(
        "The value of the site is that of its worst box. Other boxes had better values."
    ),
    "read_decibels": translated("Decibels"),
    "read_decibels_text": translated(
        "Levels are averaged by energy: 3 dB more is twice the sound energy, and 10 dB more sounds about "
        "twice as loud."
    ),
    "read_alerts": translated("Alerts"),
    "read_alerts_text": translated(
        "Alerts that began in the period, each with its highest severity. The time to acknowledgement is "
        "counted from the creation of the alert."
    ),
    # Methods.
    "methods": translated("Methods and sources"),
    "method_version": translated("{name}, version {version}"),
    "method_coverage": translated("Needs: {rule}"),
    "method_source": translated("Source: {source}"),
    "unverified": translated(
        "A number of this method could not be confirmed in the source: check it before you rely on it."
    ),
    "no_methods": translated("No method was used."),
}
"""The part of `app.reports.render.report_texts.WORDS` on data and methods."""

CITATIONS_FR: Final[Mapping[str, str]] = {
    "ETC HE Report 2024/17: EEA's revision of the European air quality index bands": (
        "Rapport ETC HE 2024/17 : révision par l'AEE des classes de l'indice européen de qualité de l'air"
    ),
    "WHO global air quality guidelines (2021), table 0.1": (
        "OMS, lignes directrices mondiales sur la qualité de l'air (2021), tableau 0.1"
    ),
    "ISO 1996-1: equivalent continuous sound pressure level": (
        "ISO 1996-1 : niveau de pression acoustique continu équivalent"
    ),
    "Directive 2002/49/EC, Annex I": "Directive 2002/49/CE, annexe I",
    "Décret n° 2011-1727 and décret n° 2012-14 (France): valeurs-guides et seuil d'action du benzène": (
        "Décrets n° 2011-1727 et n° 2012-14 (France) : valeurs-guides et seuil d'action du benzène"
    ),
    (
        "Arlian et al., J Allergy Clin Immunol 104 (1999) 852-856; Hashimoto et al., Med Entomol Zool "
        "44 (1993) 185-195"
    ): (
        "Arlian et al., J Allergy Clin Immunol 104 (1999) 852-856 ; Hashimoto et al., Med Entomol Zool "
        "44 (1993) 185-195"
    ),
    (
        "Hukka and Viitanen, Wood Sci Technol 33 (1999) 475-485; classes of materials: Ojanen et al. (2010)"
    ): "Hukka et Viitanen, Wood Sci Technol 33 (1999) 475-485 ; classes de matériaux : Ojanen et al. (2010)",
    "EN 13725: odour concentration, of which 1 ou/m³ is the detection threshold": (
        "EN 13725 : concentration d'odeur, dont le seuil de détection est 1 uoE/m³"
    ),
    "TA Luft 2021 (Germany), Anhang 7 (formerly GIRL), table 22": (
        "TA Luft 2021 (Allemagne), annexe 7 (anciennement GIRL), tableau 22"
    ),
    (
        "EN ISO 7730:2005, table A.5 (offices, classrooms); categories A to C have the ranges of I to III of "
        "EN 16798-1"
    ): (
        "EN ISO 7730:2005, tableau A.5 (bureaux, salles de classe) ; les catégories A à C ont les plages I à "
        "III de l'EN 16798-1"
    ),
    "Masterton and Richardson (1979), Environment Canada: humidex": (
        "Masterton et Richardson (1979), Environnement Canada : humidex"
    ),
    "EN 12464-1: lighting of indoor work places": "EN 12464-1 : éclairage des lieux de travail intérieurs",
}
"""French names of sources with an English name. Other sources have their original title in both languages."""

COVERAGES_FR: Final[Mapping[str, str]] = {
    "eaqi": (
        "75 % de l'heure, pour chaque polluant (selon la directive 2008/50/CE, annexe VII) ; les autres sont "
        "laissés de côté."
    ),
    "atmo": (
        "75 % des heures du jour local, chacune à 75 %, pour chaque polluant ; les autres sont laissés "
        "de côté."
    ),
    "who-24h": "75 % des heures du jour local, chacune à 75 %.",
    "who-o3-8h": (
        "6 heures sur 8 pour chaque moyenne glissante, 75 % des moyennes glissantes du jour où elles "
        "finissent."
    ),
    "who-year": "85 % des heures de l'année locale (90 % jusqu'en 2025), chacune à 75 %.",
    "who-o3-peak-season": (
        "75 % des jours de chacun de six mois d'affilée, chacun avec sa moyenne maximale sur 8 heures."
    ),
    "who-days-over": "75 % des jours de l'année locale, chacun avec 75 % de ses heures.",
    "leq": "75 % de la période.",
    "lden-day": "75 % de chaque partie de la journée, du temps qu'elle a réellement duré.",
    "lden-year": "75 % de tous les jours, de toutes les soirées et de toutes les nuits de l'année.",
    "noise-emergence": "75 % du temps avec le bruit, et 75 % du temps sans lui.",
    "indoor-co2": "75 % des heures de la période, chacune à 75 %.",
    "indoor-formaldehyde-hour": "75 % des heures de la période, chacune à 75 %.",
    "indoor-formaldehyde-week": "75 % des heures de 4,5 à 7 jours, chacune à 75 %.",
    "indoor-benzene": "75 % des heures de 4,5 à 7 jours, chacune à 75 %.",
    "mite-risk": (
        "14 jours au moins ; 75 % des jours, chacun avec 75 % de ses heures de température et d'humidité."
    ),
    "mould-index": (
        "75 % des heures de la période, chacune à 75 % des deux ; les heures absentes sont figées."
    ),
    "odour-episodes": "75 % de la période.",
    "odour-hours": "75 % des heures de la période, chacune à 75 %.",
    "thermal-comfort": "75 % des heures de la période, chacune à 75 %.",
    "humidex": "75 % des heures de la période, chacune à 75 % des deux.",
    "light": "75 % des heures de la période, chacune à 75 %.",
}
"""Coverage rules of methods in French, by the name of the method. The methods define the English ones."""

SITE_KINDS: Final[Mapping[str, BilingualText]] = {
    "street": translated("Street"),
    "road": translated("Road"),
    "square": translated("Square"),
    "park": translated("Park"),
    "school": translated("School"),
    "office": translated("Office"),
    "airport": translated("Airport"),
    "home": translated("Home"),
    "hospital": translated("Hospital"),
    "library": translated("Library"),
    "museum": translated("Museum"),
    "harbour": translated("Harbour"),
    "port": translated("Port"),
    "industry": translated("Industry"),
    "construction": translated("Construction site"),
}
"""Titles of known kinds of places. Other kinds are shown as their client wrote them."""
