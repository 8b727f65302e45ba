"""Holds the texts on legal bases, reasons of refused data, and retention, in English and French. Pure."""

from collections.abc import Mapping
from typing import Final

from app.presentation.translation import BilingualText, translated
from app.public_register.register_model import PurposeStanding

BASES: Final[Mapping[str, tuple[BilingualText, BilingualText]]] = {
    "consent": (
        translated("Consent (GDPR, Article 6(1)(a))"),
        translated("The persons concerned have agreed, and may withdraw that at any time."),
    ),
    "contract": (
        translated("Contract (GDPR, Article 6(1)(b))"),
        translated("The processing is necessary for a contract with the persons concerned."),
    ),
    "legal_obligation": (
        translated("Legal obligation (GDPR, Article 6(1)(c))"),
        translated("A law obliges the controller to do so."),
    ),
    "vital_interests": (
        translated("Vital interests (GDPR, Article 6(1)(d))"),
        translated("It is necessary to protect a person's life."),
    ),
    "public_task": (
        translated("Public task (GDPR, Article 6(1)(e))"),
        translated(
            "It is necessary for a task in the public interest that a law gives to the controller. You may "
            "object."
        ),
    ),
    "legitimate_interests": (
        translated("Legitimate interests (GDPR, Article 6(1)(f))"),
        translated("The controller has an interest that yours do not outweigh. You may object."),
    ),
    "law_enforcement": (
        translated("Law enforcement (Directive (EU) 2016/680)"),
        translated("A competent authority prevents or prosecutes offences by a law that it has to name."),
    ),
    "other_law": (
        translated("Another law"),
        translated("A law that is named here."),
    ),
    "not_personal_data": (
        translated("No personal data"),
        translated(
            "The operator states that the measurements describe the air, sound levels or the equipment, and "
            "no person."
        ),
    ),
}
"""Legal bases by name, each with its title and its meaning."""

LICENCES_FR: Final[Mapping[str, str]] = {"etalab-2.0": "Licence Ouverte 2.0 (Etalab)"}
"""French names of licences that SPDX lists in English only, by their identifiers."""

STANDINGS: Final[Mapping[PurposeStanding, BilingualText]] = {
    "in_force": translated("in force"),
    "not_yet": translated("not yet in force"),
    "awaiting_approval": translated("awaiting approval"),
    "ended": translated("ended"),
}
"""Standings of purposes."""

SEVERITIES: Final[Mapping[str, BilingualText]] = {
    "critical": translated("critical"),
    "warning": translated("warning"),
    "info": translated("information"),
}
"""Severities of alerts, the gravest first."""

REFUSALS: Final[Mapping[str, BilingualText]] = {
    "purpose_not_declared": translated("the purpose is not declared"),
    "purpose_not_approved": translated("the purpose is not approved"),
    "purpose_ended": translated("the purpose has ended"),
    "unknown_event_type": translated("an event of no known type"),
    "forbidden_content": translated("forbidden content"),
    "camera_coupling": translated("a camera coupled with a sound event"),
}
"""Texts of refusals by rejection code. Other codes are shown as they are."""

NO_PURPOSE: Final = translated("without a purpose")
"""The purpose of refusals without one."""

RETENTION_TEXTS: Final[Mapping[str, BilingualText]] = {
    "ever": translated("without limit of time"),
    "removed": translated("{}, then removed"),
    "refused": translated(
        "data older than {} are rejected on receipt; stored data are not removed automatically"
    ),
    "summaries": translated("Hourly and daily means: {}."),
    "summaries_ever": translated("Hourly and daily means: without limit of time."),
    "day_one": translated("{} day"),
    "day_many": translated("{} days"),
}
"""How long data are stored."""

SPANS: Final[Mapping[str, BilingualText]] = {
    "both": translated("from {start} to {end}"),
    "start": translated("since {start}"),
    "from": translated("from {start} on"),
    "end": translated("until {end}"),
    "open": translated("without an end"),
}
"""From when to when a purpose is in force."""
