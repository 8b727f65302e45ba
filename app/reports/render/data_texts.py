"""Holds the texts on data quality, on how to read the report, and on methods, in English and French."""

from collections.abc import Mapping
from typing import Final

from app.indicators.index_results import BilingualText

DATA_WORDS: Final[Mapping[str, BilingualText]] = {
    # Quality.
    "quality": BilingualText("Data quality", "Qualité des données"),
    "quality_coverage": BilingualText(
        "Measured: {coverage} of the expected values, over all boxes and quantities.",
        "Mesuré : {coverage} des valeurs attendues, tous boîtiers et grandeurs confondus.",
    ),
    "quality_silent": BilingualText("Silent all the time: {boxes}.", "Muets tout du long : {boxes}."),
    "quality_gaps": BilingualText(
        "Hours without any value, of {hours} in the period",
        "Heures sans aucune valeur, sur {hours} dans la période",
    ),
    "quality_no_gaps": BilingualText(
        "No box was without a value for a whole hour.",
        "Aucun boîtier n'est resté une heure entière sans valeur.",
    ),
    "gap_total": BilingualText("Hours without values", "Heures sans valeur"),
    "gap_longest": BilingualText("In a row at most", "D'affilée au plus"),
    "more_boxes": BilingualText("{count} more", "{count} de plus"),
    "quality_flags": BilingualText("Flags, of {samples} values", "Signalements, sur {samples} valeurs"),
    "quality_no_flags": BilingualText(
        "None of {samples} values has a flag.",
        "Aucune des {samples} valeurs n'est signalée.",
    ),
    "quality_flags_left_out": BilingualText(
        "Flags of single values were not counted: there are too many values for one report.",
        "Les signalements de valeurs n'ont pas été comptés : il y a trop de valeurs à examiner pour un "
        "rapport.",
    ),
    "flag": BilingualText("Flag", "Signalement"),
    "share": BilingualText("Share", "Part"),
    "out_of_range": BilingualText("Outside the usual range", "Hors de l'étendue habituelle"),
    "spike": BilingualText("Spike among its neighbours", "Pic isolé parmi ses voisines"),
    "flat_line": BilingualText("Unchanged for a long time", "Immobile depuis longtemps"),
    "warm_up": BilingualText("Warming up after a gap", "Mise en chauffe après une coupure"),
    "late": BilingualText("Arrived late", "Arrivée en retard"),
    "quality_flagged_included": BilingualText(
        "Flagged values are part of all figures: nothing is left out, and nothing is filled in.",
        "Les valeurs signalées comptent dans tous les chiffres : rien n'est écarté, et rien n'est comblé.",
    ),
    # How to read it.
    "reading": BilingualText("How to read this", "Comment lire ce rapport"),
    "read_day": BilingualText("Days and hours", "Jours et heures"),
    "read_day_text": BilingualText(
        "Days go from midnight to midnight by the clocks of the site. A day of noise begins with the "
        "first part of the day ({begin} h) and ends a day later, so that no night is cut in two.",
        "Les jours vont de minuit à minuit aux horloges du site. Une journée de bruit commence avec la "
        "première partie du jour ({begin} h) et finit un jour plus tard, pour ne couper aucune nuit.",
    ),
    "read_measured": BilingualText("Measured", "Mesuré"),
    "read_measured_text": BilingualText(
        "The share of a period that was measured, in percent. If it is too small for a method, the reason "
        "is shown instead of a value.",
        "La part de la période qui a été mesurée, en pour cent. Quand elle est trop faible pour une "
        "méthode, il n'y a pas de valeur, et la raison figure à sa place.",
    ),
    "read_sensors": BilingualText("Boxes", "Boîtiers"),
    "read_sensors_text": BilingualText(
        "The boxes are indicative instruments at one place each. They are not reference stations: their "
        "values apply to their location, and do not prove a breach of the law.",
        "Les boîtiers sont des instruments indicatifs, chacun en un lieu. Ce ne sont pas des stations de "
        "référence : ils disent ce qu'il en est là où ils sont, et ne prouvent aucune infraction.",
    ),
    "read_worst": BilingualText("Worst value", "Pire valeur"),
    "read_worst_text": BilingualText(
        "The value of the site is that of its worst box. Other boxes had better values.",
        "La valeur du site est celle de son pire boîtier. Les autres boîtiers ont de meilleures valeurs.",
    ),
    "read_decibels": BilingualText("Decibels", "Décibels"),
    "read_decibels_text": BilingualText(
        "Levels are averaged by energy: 3 dB more is twice the sound energy, and 10 dB more sounds about "
        "twice as loud.",
        "Les niveaux sont moyennés en énergie : 3 dB de plus doublent l'énergie sonore, 10 dB de plus "
        "s'entendent environ deux fois plus fort.",
    ),
    "read_alerts": BilingualText("Alerts", "Alertes"),
    "read_alerts_text": BilingualText(
        "Alerts that began in the period, each with its highest severity. The time to acknowledgement is "
        "counted from the creation of the alert.",
        "Celles qui ont commencé dans la période, chacune à la gravité la plus haute qu'elle a eue. Le "
        "temps de prise en charge est compté depuis la création de l'alerte.",
    ),
    # Methods.
    "methods": BilingualText("Methods and sources", "Méthodes et sources"),
    "method_version": BilingualText("{name}, version {version}", "{name}, version {version}"),
    "method_coverage": BilingualText("Needs: {rule}", "Exige : {rule}"),
    "method_source": BilingualText("Source: {source}", "Source : {source}"),
    "unverified": BilingualText(
        "A number of this method could not be confirmed in the source: check it before you rely on it.",
        "Un nombre de cette méthode n'a pas pu être confirmé dans la source : à vérifier avant de s'y fier.",
    ),
    "no_methods": BilingualText("No method was used.", "Aucune méthode n'a été employée."),
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
    "street": BilingualText("Street", "Rue"),
    "road": BilingualText("Road", "Route"),
    "square": BilingualText("Square", "Place"),
    "park": BilingualText("Park", "Parc"),
    "school": BilingualText("School", "École"),
    "office": BilingualText("Office", "Bureaux"),
    "airport": BilingualText("Airport", "Aéroport"),
    "home": BilingualText("Home", "Logement"),
    "hospital": BilingualText("Hospital", "Hôpital"),
    "library": BilingualText("Library", "Bibliothèque"),
    "museum": BilingualText("Museum", "Musée"),
    "harbour": BilingualText("Harbour", "Port"),
    "port": BilingualText("Port", "Port"),
    "industry": BilingualText("Industry", "Industrie"),
    "construction": BilingualText("Construction site", "Chantier"),
}
"""Titles of known kinds of places. Other kinds are shown as their client wrote them."""
