"""Contains the French texts of mails, and typesets French.

The texts are written with plain characters; `typeset_french` inserts typographic apostrophes and non-breaking
spaces.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any, Final

from app.notifications.email.mail_texts import APOSTROPHE, NBSP, THIN_NBSP, MailTexts

_AS_TYPED: Final = MailTexts(
    language="fr",
    digits={ord(","): THIN_NBSP, ord("."): ","},
    apostrophes={ord("'"): APOSTROPHE},
    months=(
        *("janvier", "février", "mars", "avril", "mai", "juin"),
        *("juillet", "août", "septembre", "octobre", "novembre", "décembre"),
    ),
    first="1er",
    moment="{day} {month} {year} à {clock} ({zone})",
    day="j",
    percent=f"{NBSP}%",
    colon=" : ",
    severities={"info": "Information", "warning": "Avertissement", "critical": "Critique"},
    place="{rule}, {site}",
    tags={"resolved": "Résolue", "acknowledged": "Prise en charge", "other": "Vigie"},
    happened={
        "alert.escalated": "Aggravation",
        "alert.deescalated": "Atténuation",
        "alert.reminder": "Rappel",
        "alert.acknowledged": "prise en charge par {who}",
        "alert.resolved": "résolue",
    },
    leads={
        "alert.firing": "Une alerte vient de se déclencher.",
        "alert.escalated": "L'alerte s'est aggravée : de « {previous} » à « {severity} »{reason}.",
        "alert.deescalated": "L'alerte s'est atténuée : de « {previous} » à « {severity} »{reason}.",
        "alert.resolved": "L'alerte est terminée : {why}.",
        "alert.acknowledged": "L'alerte est prise en charge par {who}.",
        "alert.reminder": "L'alerte dure toujours, et personne ne l'a prise en charge.",
    },
    resolutions={
        "cleared": "la condition n'est plus remplie",
        "out_of_hours": "les heures d'activité de sa règle sont passées",
        "rule_changed": "sa règle a été modifiée",
        "rule_disabled": "sa règle a été désactivée",
        "rule_deleted": "sa règle a été supprimée",
        "rule_gone": "sa règle ne concerne plus ce boîtier",
        "box_deleted": "le boîtier a été supprimé",
        "box_moved": "le boîtier a changé de site",
        "superseded": "son état a été perdu, et une nouvelle alerte la remplace",
    },
    reasons={
        "samples": ", d'après les mesures",
        "unacknowledged": ", car personne ne l'a prise en charge à temps",
    },
    functions={
        "mean": "moyenne",
        "sum": "somme",
        "energy_mean": "moyenne énergétique",
        "min": "valeur la plus basse",
        "max": "valeur la plus haute",
        "percentile": "centile",
        "rate": "variation par heure",
        "spread": "étendue",
        "count": "nombre de mesures",
    },
    over="{function} sur {window}",
    limit="seuil {}",
    upper_bound="borne haute {}",
    silence="aucune donnée depuis {}",
    silence_of="aucune mesure de {metric} depuis {duration}",
    kinds={
        "webhook": "Webhook",
        "email": "Canal de courriel",
        "mqtt": "Canal MQTT",
        "slack": "Canal Slack",
        "teams": "Canal Microsoft Teams",
        "discord": "Canal Discord",
        "pagerduty": "Canal PagerDuty",
        "ntfy": "Canal ntfy",
        "alertmanager": "Canal Alertmanager",
    },
    recognised={"gunshot": "coup de feu", "tamper": "effraction"},
    quotas={
        "sites": "sites",
        "boxes": "boîtiers",
        "api_keys": "clés d'API",
        "webhooks": "webhooks et canaux",
        "clients": "clients",
        "samples_per_day": "relevés par jour",
    },
    evidences={
        "unlocated": "non localisé : un seul boîtier l'a entendu",
        "branch": "sur une courbe : deux boîtiers l'ont entendu",
        "position": "une position, de trois boîtiers ou plus",
    },
    labels={
        "occurred_at": "Entendu le",
        "evidence": "Niveau de preuve",
        "position": "Latitude, longitude",
        "class": "Le plus probable",
        "probability": "Coup de feu ou explosion",
        "rounds": "Coups",
        "boxes": "Entendu par",
        "outcome": "Constaté",
        "severity": "Gravité",
        "highest_severity": "Gravité maximale",
        "site": "Site",
        "box": "Boîtier",
        "rule": "Règle",
        "value": "Mesure",
        "period_end": "Fin de la période",
        "limit": "Seuil",
        "upper_bound": "Borne haute",
        "clear": "Fin à",
        "silent": "Silence depuis",
        "allowed": "Toléré",
        "event": "Événement",
        "event_at": "Reconnu le",
        "confidence": "Confiance demandée",
        "pending_since": "Condition remplie depuis",
        "started_at": "Alerte depuis",
        "resolved_at": "Terminée le",
        "resolved_value": "Dernière valeur",
        "lasted": "Durée",
        "acknowledged_at": "Prise en charge le",
        "acknowledged_by": "Prise en charge par",
        "assignee": "Confiée à",
        "target": "Destination",
        "kind": "Nature",
        "description": "Description",
        "failing_since": "En échec depuis",
        "last_reason": "Dernier échec",
        "last_status": "Dernier statut",
        "pending": "En attente",
        "dropped": "Messages perdus",
        "total": "Depuis le démarrage du broker",
        "broker_started_at": "Broker démarré le",
        "quota": "Quota",
        "limit_of_quota": "Limite",
        "used": "Utilisés",
        "refused": "Refusés aujourd'hui",
        "resets_at": "Remis à zéro le",
        "type": "Type",
        "timestamp": "Le",
    },
    whole_site="le site dans son ensemble",
    and_more=("et {} autre", "et {} autres"),
    advice="Ce qu'il faut faire",
    firing=("{} en cours", "{} en cours"),
    resolved=("{} terminée", "{} terminées"),
    counted="Alertes : {counts}.",
    rules="{} règles",
    sites="{} sites",
    since="depuis le {}",
    lasted="après {}",
    events="{} événements",
    unlisted=(
        "{} autre alerte ne figure pas ici.",
        "{} autres alertes ne figurent pas ici.",
    ),
    test=(
        "Essai de ce canal",
        "Ceci est un essai : les alertes de ce canal arriveront aussi ici.",
    ),
    test_of_server=("Essai du serveur de courriel", "Ceci est un essai : les courriels de Vigie arrivent."),
    notices={
        "endpoint.failing": (
            "Les envois échouent",
            (
                "Rien n'a pu y être livré depuis longtemps. Vigie continue d'essayer, et le désactivera "
                "si rien ne change. Merci de vérifier le destinataire."
            ),
        ),
        "endpoint.disabled.gone": (
            "Désactivé",
            (
                "Le destinataire a répondu qu'il n'existe plus (410) : plus rien n'y est envoyé. "
                "Réactivez-le quand il sera de retour."
            ),
        ),
        "endpoint.disabled.failing": (
            "Désactivé",
            (
                "Rien n'a pu y être livré depuis trop longtemps : plus rien n'y est envoyé. Réactivez-le "
                "quand il fonctionnera : ce qui attend partira alors."
            ),
        ),
        "incident.detected": (
            "Coup de feu possible",
            (
                "Des boîtiers ont entendu ce qui peut être un coup de feu ou une explosion. Personne ne l'a "
                "encore examiné."
            ),
        ),
        "incident.updated": (
            "Coup de feu possible : on en sait plus",
            (
                "Des signalements ultérieurs ont changé ce que l'on sait d'un incident. Personne ne l'a "
                "encore examiné."
            ),
        ),
        "incident.confirmed": ("Incident confirmé", "Une personne a examiné l'incident et l'a confirmé."),
        "incident.dismissed": (
            "Incident écarté",
            "Une personne a examiné l'incident et l'a écarté, ou ses données n'existent plus.",
        ),
        "quota.warning": (
            "Quota bientôt atteint",
            (
                "Les quatre cinquièmes du quota du jour sont utilisés. Au-delà du quota, les relevés sont "
                "refusés et mis en quarantaine jusqu'à minuit UTC."
            ),
        ),
        "quota.exceeded": (
            "Quota atteint",
            (
                "Ce qui dépasse le quota est refusé. Les relevés refusés restent en quarantaine : ils "
                "peuvent être rejoués une fois le quota relevé, ou le lendemain."
            ),
        ),
        "platform.messages_dropped": (
            "Le broker a perdu des messages",
            (
                "Une file d'attente du broker était pleine. Les boîtiers qui attendent l'accusé de "
                "réception de Vigie renverront leurs mesures ; celles des autres sont perdues."
            ),
        ),
    },
    other=("{type}", "Vigie signale un événement pour lequel ce courriel n'a pas de phrase :"),
    open="Ouvrir dans Vigie",
    footer="Votre adresse figure sur un canal de courriel de Vigie. Ses responsables peuvent l'en retirer.",
    footer_alert="Alerte {id}, message {sequence}.",
    footer_test="Un administrateur de Vigie a fait envoyer cet essai à votre adresse.",
)


def typeset_french(text: str) -> str:
    """Insert typographic apostrophes, and non-breaking spaces at punctuation."""
    for mark in ";!?":
        text = text.replace(f" {mark}", f"{THIN_NBSP}{mark}")
    for plain, firm in ((" :", f"{NBSP}:"), ("« ", f"«{NBSP}"), (" »", f"{NBSP}»"), ("'", APOSTROPHE)):
        text = text.replace(plain, firm)
    return text


def typeset_french_texts(value: Any) -> Any:  # noqa: ANN401 (a text, or texts in one of several shapes)
    """Typeset each text of a tuple or a mapping; other values stay."""
    if isinstance(value, str):
        return typeset_french(value)
    if isinstance(value, tuple):
        return tuple(map(typeset_french_texts, value))
    if isinstance(value, Mapping):
        return {key: typeset_french_texts(each) for key, each in value.items()}
    return value


_AS_THEY_ARE: Final = ("digits", "apostrophes")

FRENCH: Final = dataclasses.replace(
    _AS_TYPED,
    **{
        field.name: typeset_french_texts(getattr(_AS_TYPED, field.name))
        for field in dataclasses.fields(MailTexts)
        if field.name not in _AS_THEY_ARE
    },
)
