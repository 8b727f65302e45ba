"""Holds the texts on legal bases, refusals and retention, in English and French. Pure."""

from collections.abc import Mapping
from typing import Final

from app.indicators.index_results import BilingualText
from app.public_register.register_model import PurposeStanding

BASES: Final[Mapping[str, tuple[BilingualText, BilingualText]]] = {
    "consent": (
        BilingualText("Consent (GDPR, Article 6(1)(a))", "Consentement (RGPD, article 6, § 1, a)"),
        BilingualText(
            "The persons concerned have agreed, and may withdraw that at any time.",
            "Les personnes concernées ont donné leur accord et peuvent le retirer à tout moment.",
        ),
    ),
    "contract": (
        BilingualText("Contract (GDPR, Article 6(1)(b))", "Contrat (RGPD, article 6, § 1, b)"),
        BilingualText(
            "The processing is necessary for a contract with the persons concerned.",
            "C'est nécessaire à l'exécution d'un contrat avec les personnes concernées.",
        ),
    ),
    "legal_obligation": (
        BilingualText(
            "Legal obligation (GDPR, Article 6(1)(c))", "Obligation légale (RGPD, article 6, § 1, c)"
        ),
        BilingualText("A law obliges the controller to do so.", "La loi oblige le responsable à le faire."),
    ),
    "vital_interests": (
        BilingualText("Vital interests (GDPR, Article 6(1)(d))", "Intérêts vitaux (RGPD, article 6, § 1, d)"),
        BilingualText(
            "It is necessary to protect a person's life.",
            "C'est nécessaire pour protéger la vie d'une personne.",
        ),
    ),
    "public_task": (
        BilingualText(
            "Public task (GDPR, Article 6(1)(e))", "Mission d'intérêt public (RGPD, article 6, § 1, e)"
        ),
        BilingualText(
            "It is necessary for a task in the public interest that a law gives to the controller. You may "
            "object.",
            "C'est nécessaire à une mission d'intérêt public qu'un texte confie au responsable. Vous pouvez "
            "vous y opposer.",
        ),
    ),
    "legitimate_interests": (
        BilingualText(
            "Legitimate interests (GDPR, Article 6(1)(f))", "Intérêts légitimes (RGPD, article 6, § 1, f)"
        ),
        BilingualText(
            "The controller has an interest that yours do not outweigh. You may object.",
            "Le responsable y a un intérêt légitime sur lequel les vôtres ne prévalent pas. Vous pouvez "
            "vous y "
            "opposer.",
        ),
    ),
    "law_enforcement": (
        BilingualText(
            "Law enforcement (Directive (EU) 2016/680)",
            "Prévention et poursuite d'infractions (directive (UE) 2016/680)",
        ),
        BilingualText(
            "A competent authority prevents or prosecutes offences by a law that it has to name.",
            "Une autorité compétente prévient ou poursuit des infractions, en vertu d'un texte qu'elle "
            "doit citer.",
        ),
    ),
    "other_law": (
        BilingualText("Another law", "Un autre texte"),
        BilingualText("A law that is named here.", "Un texte cité ici."),
    ),
    "not_personal_data": (
        BilingualText("No personal data", "Aucune donnée personnelle"),
        BilingualText(
            "The operator states that the measurements describe the air, sound levels or the equipment, and "
            "no person.",
            "L'exploitant déclare que les mesures renseignent sur l'air, les niveaux sonores ou le matériel, "
            "et sur aucune personne.",
        ),
    ),
}
"""Legal bases by name, each with its title and its meaning."""

LICENCES_FR: Final[Mapping[str, str]] = {"etalab-2.0": "Licence Ouverte 2.0 (Etalab)"}
"""French names of licences that SPDX lists in English only, by their identifiers."""

STANDINGS: Final[Mapping[PurposeStanding, BilingualText]] = {
    "in_force": BilingualText("in force", "en vigueur"),
    "not_yet": BilingualText("not yet in force", "pas encore en vigueur"),
    "awaiting_approval": BilingualText("awaiting approval", "en attente d'approbation"),
    "ended": BilingualText("ended", "terminée"),
}
"""Standings of purposes."""

SEVERITIES: Final[Mapping[str, BilingualText]] = {
    "critical": BilingualText("critical", "critique"),
    "warning": BilingualText("warning", "avertissement"),
    "info": BilingualText("information", "information"),
}
"""Severities of alerts, the gravest first."""

REFUSALS: Final[Mapping[str, BilingualText]] = {
    "purpose_not_declared": BilingualText("the purpose is not declared", "la finalité n'est pas déclarée"),
    "purpose_not_approved": BilingualText("the purpose is not approved", "la finalité n'est pas approuvée"),
    "purpose_ended": BilingualText("the purpose has ended", "la finalité est terminée"),
    "unknown_event_type": BilingualText("an event of no known type", "un événement de type inconnu"),
    "forbidden_content": BilingualText("forbidden content", "un contenu interdit"),
    "camera_coupling": BilingualText(
        "a camera coupled with a sound event", "une caméra couplée à un événement sonore"
    ),
}
"""Texts of refusals by rejection code. Other codes are shown as they are."""

NO_PURPOSE: Final = BilingualText("without a purpose", "sans finalité")
"""The purpose of refusals without one."""

RETENTION_TEXTS: Final[Mapping[str, BilingualText]] = {
    "ever": BilingualText("without limit of time", "sans limite de durée"),
    "removed": BilingualText("{}, then removed", "{}, puis suppression"),
    "refused": BilingualText(
        "data older than {} are rejected on receipt; stored data are not removed automatically",
        "les données de plus de {} sont rejetées à la réception ; les données enregistrées ne sont pas "
        "supprimées automatiquement",
    ),
    "summaries": BilingualText("Hourly and daily means: {}.", "Moyennes par heure et par jour : {}."),
    "summaries_ever": BilingualText(
        "Hourly and daily means: without limit of time.",
        "Moyennes par heure et par jour : sans limite de durée.",
    ),
    "day_one": BilingualText("{} day", "{} jour"),
    "day_many": BilingualText("{} days", "{} jours"),
}
"""How long data are stored."""

SPANS: Final[Mapping[str, BilingualText]] = {
    "both": BilingualText("from {start} to {end}", "du {start} au {end}"),
    "start": BilingualText("since {start}", "depuis le {start}"),
    "from": BilingualText("from {start} on", "à partir du {start}"),
    "end": BilingualText("until {end}", "jusqu'au {end}"),
    "open": BilingualText("without an end", "sans terme"),
}
"""From when to when a purpose is in force."""
