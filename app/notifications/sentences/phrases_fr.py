"""Contains the French phrases of sentences.

They are written with plain characters; `typeset_french_texts` inserts typographic apostrophes and
non-breaking spaces.
"""

import dataclasses
from typing import Final

from app.notifications.email.mail_texts_fr import typeset_french_texts
from app.notifications.sentences.phrases import SentencePhrases
from app.notifications.sentences.phrases_en import METRICS

_METRICS: Final = {
    **METRICS,
    "pm2_5": "PM2,5",
    "o3": "ozone",
    "tvoc": "COV totaux",
    "nh3": "ammoniac",
    "hcho": "formaldéhyde",
    "benzene": "benzène",
    "temperature": "température",
    "humidity": "humidité",
    "pressure": "pression de l'air",
    "illuminance": "éclairement",
    "laeq": "niveau sonore (LAeq)",
    "lamax": "niveau sonore maximal (LAmax)",
    "lcpeak": "niveau sonore de crête (LCpeak)",
    "la10": "niveau sonore (LA10)",
    "la50": "niveau sonore (LA50)",
    "la90": "niveau sonore (LA90)",
    "odour": "odeur",
    "battery": "charge de la batterie",
    "rssi": "signal radio",
}

_AS_TYPED: Final = SentencePhrases(
    language="fr",
    metrics=_METRICS,
    units=(
        (86_400, "{} jour", "{} jours"),
        (3600, "{} heure", "{} heures"),
        (60, "{} minute", "{} minutes"),
        (1, "{} seconde", "{} secondes"),
    ),
    unnamed_site="Site",
    place="{site} ({box})",
    reading="{place} : {metric} à {value}",
    window="{place} : {metric}, {function}{over} à {value}",
    compared={
        ">": "au-dessus de {x}",
        ">=": "à {x} ou au-dessus",
        "<": "au-dessous de {x}",
        "<=": "à {x} ou au-dessous",
        "=": "à la limite de {x}",
    },
    ranges={
        "outside": "hors de l'intervalle de {low} à {high}",
        "inside": "dans l'intervalle de {low} à {high}",
    },
    held=" depuis {time}",
    lasting=" pendant {time}",
    in_a_row=", {count} fois de suite",
    silence="{place} : aucune donnée depuis {time}",
    silence_of="{place} : {metric}, aucune mesure depuis {time}",
    recognised="{place} : le boîtier signale « {what} »",
    counted=", {count} fois en {time}",
    index="{place} : {title} à {value}",
    band="classe « {band} »",
    band_limit="seuil : « {band} » ou pire",
    boxes="{place} : {count}, {clause}",
    whole="{place} : la condition de « {rule} » est remplie{held} ({clause})",
    completed=" ; la condition entière est remplie{held} ({clause})",
    plain="{place} : alerte « {rule} »{severity}",
    graded=" ({severity})",
    changed=" ; gravité passée de « {previous} » à « {severity} »",
    reminded=" ; personne ne l'a prise en charge",
    acknowledged=" ; prise en charge par {who}",
    back="{place} : {metric} de retour à {value}{lasted}",
    back_window="{place} : {metric}, {function}{over} de retour à {value}{lasted}",
    back_index="{place} : {title} de retour à {value}{lasted}",
    heard_again="{place} : les données arrivent à nouveau{lasted}",
    over="{place} : l'alerte « {rule} » est terminée{lasted} ({why})",
    lasted=" après {time}",
    percentile="{n}e centile",
    over_window=" sur {window}",
    group="{counts} : {first}",
    incidents={
        "incident.detected": "{where}{what} possible",
        "incident.updated": "{where}on en sait plus sur un possible {what}",
        "incident.confirmed": "{where}une personne a confirmé un incident ({outcome})",
        "incident.dismissed": "{where}l'incident est écarté ({outcome})",
    },
    requests={
        "rights.received": "Une personne exerce un droit ({reference}) : réponse attendue avant le {due}",
        "rights.overdue": "Un droit exercé ({reference}) attendait une réponse avant le {due}",
    },
    incident_place="{place} : ",
    clauses={
        "value": "{metric} {compared}",
        "window": "{metric}, {function}{over}, {compared}",
        "silence": "aucune donnée pendant {time}",
        "silence_of": "aucune mesure pendant {time} ({metric})",
        "event": "« {what} » signalé par un boîtier{details}",
        "confidence": "avec une confiance d'au moins {percent}",
        "times": "{count} fois en {time}",
        "index": "{title} {compared}",
        "index_of": "{title} ({metric})",
        "band": "« {band} » ou pire",
        "box": "{clause} (boîtier {box})",
        "and": " et ",
        "or": " ou ",
        "not": "pas ({clause})",
        "unless": "sauf si {clause}",
        "at_least": "{clause} sur {count} ou plus",
        "share": "{clause} sur au moins {share} des boîtiers",
        "among": " {scope}",
        "attribute": "son attribut « {name} »",
        "attribute_default": "son attribut « {name} » ({default} à défaut)",
        "kinds": "de type {names}",
        "tags": "étiquetés {names}",
        "boxes": "{names}",
        "together": ", le tout{timing}",
    },
    rules={
        "level": "{severity} : {clause}",
        "level_unless": "{severity} {clause}",
        "level_end": "{level}, jusqu'au retour {clear}",
        "clear_down": "à {x} ou au-dessous",
        "clear_up": "à {x} ou au-dessus",
        "calm": "L'alerte se termine une fois que ce n'est plus le cas depuis {time}.",
        "scope": "Seulement pour les boîtiers {scope}.",
        "active": "Seulement {hours}.",
        "hours": "{days} de {start} à {end}",
        "every_day": "tous les jours",
        "trial": "La règle est à l'essai : personne n'est prévenu.",
        "one_box": "{} boîtier",
        "several_boxes": "{} boîtiers",
    },
    days=("lun.", "mar.", "mer.", "jeu.", "ven.", "sam.", "dim."),
)


FRENCH: Final = dataclasses.replace(
    _AS_TYPED,
    **{
        field.name: typeset_french_texts(getattr(_AS_TYPED, field.name))
        for field in dataclasses.fields(SentencePhrases)
        if field.name != "language"
    },
)
