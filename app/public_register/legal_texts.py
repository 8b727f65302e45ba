"""Words of purposes: legal bases with what they mean, where a purpose stands, reasons of refusals. Pure."""

from collections.abc import Mapping
from typing import Final

from app.indicators.index_results import Text
from app.public_register.register_model import Standing

BASES: Final[Mapping[str, tuple[Text, Text]]] = {
    "consent": (
        Text("Consent (GDPR, Article 6(1)(a))", "Consentement (RGPD, article 6, § 1, a)"),
        Text(
            "The persons concerned have agreed, and may withdraw that at any time.",
            "Les personnes concernées ont donné leur accord et peuvent le retirer à tout moment.",
        ),
    ),
    "contract": (
        Text("Contract (GDPR, Article 6(1)(b))", "Contrat (RGPD, article 6, § 1, b)"),
        Text(
            "The processing is necessary for a contract with the persons concerned.",
            "C'est nécessaire à l'exécution d'un contrat avec les personnes concernées.",
        ),
    ),
    "legal_obligation": (
        Text("Legal obligation (GDPR, Article 6(1)(c))", "Obligation légale (RGPD, article 6, § 1, c)"),
        Text("A law obliges the controller to do so.", "La loi oblige le responsable à le faire."),
    ),
    "vital_interests": (
        Text("Vital interests (GDPR, Article 6(1)(d))", "Intérêts vitaux (RGPD, article 6, § 1, d)"),
        Text(
            "It is necessary to protect a person's life.",
            "C'est nécessaire pour protéger la vie d'une personne.",
        ),
    ),
    "public_task": (
        Text("Public task (GDPR, Article 6(1)(e))", "Mission d'intérêt public (RGPD, article 6, § 1, e)"),
        Text(
            "It is necessary for a task in the public interest that a law gives to the controller. You may "
            "object.",
            "C'est nécessaire à une mission d'intérêt public qu'un texte confie au responsable. Vous pouvez "
            "vous y opposer.",
        ),
    ),
    "legitimate_interests": (
        Text("Legitimate interests (GDPR, Article 6(1)(f))", "Intérêts légitimes (RGPD, article 6, § 1, f)"),
        Text(
            "The controller has an interest that yours do not outweigh. You may object.",
            "Le responsable y a un intérêt légitime sur lequel les vôtres ne prévalent pas. Vous pouvez "
            "vous y "
            "opposer.",
        ),
    ),
    "law_enforcement": (
        Text(
            "Law enforcement (Directive (EU) 2016/680)",
            "Prévention et poursuite d'infractions (directive (UE) 2016/680)",
        ),
        Text(
            "A competent authority prevents or prosecutes offences by a law that it has to name.",
            "Une autorité compétente prévient ou poursuit des infractions, en vertu d'un texte qu'elle "
            "doit citer.",
        ),
    ),
    "other_law": (
        Text("Another law", "Un autre texte"),
        Text("A law that is named here.", "Un texte cité ici."),
    ),
    "not_personal_data": (
        Text("No personal data", "Aucune donnée personnelle"),
        Text(
            "The operator states that the measurements describe the air, sound levels or the equipment, and "
            "no person.",
            "L'exploitant déclare que les mesures renseignent sur l'air, les niveaux sonores ou le matériel, "
            "et sur aucune personne.",
        ),
    ),
}
"""Legal bases by name: what each is called, and what it means."""

LICENCES_FR: Final[Mapping[str, str]] = {"etalab-2.0": "Licence Ouverte 2.0 (Etalab)"}
"""French names of licences that SPDX lists in English only, by their identifiers."""

STANDINGS: Final[Mapping[Standing, Text]] = {
    "in_force": Text("in force", "en vigueur"),
    "not_yet": Text("not yet in force", "pas encore en vigueur"),
    "awaiting_approval": Text("awaiting approval", "en attente d'approbation"),
    "ended": Text("ended", "terminée"),
}
"""Where a purpose stands."""

SEVERITIES: Final[Mapping[str, Text]] = {
    "critical": Text("critical", "critique"),
    "warning": Text("warning", "avertissement"),
    "info": Text("information", "information"),
}
"""Severities of alerts, the gravest first."""

REFUSALS: Final[Mapping[str, Text]] = {
    "purpose_not_declared": Text("the purpose is not declared", "la finalité n'est pas déclarée"),
    "purpose_not_approved": Text("the purpose is not approved", "la finalité n'est pas approuvée"),
    "purpose_ended": Text("the purpose has ended", "la finalité est terminée"),
    "unknown_event_type": Text("an event of no known type", "un événement de type inconnu"),
    "forbidden_content": Text("forbidden content", "un contenu interdit"),
    "camera_coupling": Text(
        "a camera coupled with a sound event", "une caméra couplée à un événement sonore"
    ),
}
"""Codes of refusals that have words of their own; the others are shown as they are."""

NO_PURPOSE: Final = Text("without a purpose", "sans finalité")
"""What a refusal is of that has none."""

KEPT: Final[Mapping[str, Text]] = {
    "ever": Text("without limit of time", "sans limite de durée"),
    "removed": Text("{}, then removed", "{}, puis suppression"),
    "refused": Text(
        "data older than {} are rejected on receipt; stored data are not removed automatically",
        "les données de plus de {} sont rejetées à la réception ; les données enregistrées ne sont pas "
        "supprimées automatiquement",
    ),
    "summaries": Text("Hourly and daily means: {}.", "Moyennes par heure et par jour : {}."),
    "summaries_ever": Text(
        "Hourly and daily means: without limit of time.",
        "Moyennes par heure et par jour : sans limite de durée.",
    ),
    "day_one": Text("{} day", "{} jour"),
    "day_many": Text("{} days", "{} jours"),
}
"""How long data are kept."""

SPANS: Final[Mapping[str, Text]] = {
    "both": Text("from {start} to {end}", "du {start} au {end}"),
    "start": Text("since {start}", "depuis le {start}"),
    "from": Text("from {start} on", "à partir du {start}"),
    "end": Text("until {end}", "jusqu'au {end}"),
    "open": Text("without an end", "sans terme"),
}
"""From when to when a purpose holds."""
