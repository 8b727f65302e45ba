"""What a declaration of a purpose is worth: what it lacks, in which state it is. Pure.

Owns which fields a sensitive purpose needs, and how long it may last. `app.registry.purpose_policy` says
what the doors make of it, by the same columns.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Literal, Protocol

from app.catalogue.purposes import Purpose
from app.registry.retention_settings import RetentionSettings

PurposeState = Literal["not_declared", "incomplete", "awaiting_approval", "upcoming", "active", "ended"]
"""What holds of a purpose at a site. Data are taken in `active` alone."""

LegalBasis = Literal[
    "consent",
    "contract",
    "legal_obligation",
    "vital_interests",
    "public_task",
    "legitimate_interests",
    "law_enforcement",
    "other_law",
    "not_personal_data",
]
"""By what right: article 6 of the GDPR in its own order, the law-enforcement directive, another law, or that
no personal data are processed."""

SENSITIVE_PURPOSE_MAX_DAYS: Final = 5 * 365 + 1
"""A sensitive purpose ends after this at the latest, five years with a leap day: it is declared anew then."""
_TEXTS: Final = ("legal_reference", "controller", "contact", "impact_assessment", "notice", "description")


class PurposeDeclaration(Protocol):
    """What is declared: the columns of `SitePurpose` that count."""

    @property
    def legal_basis(self) -> str | None: ...  # noqa: D102 (as the column)
    @property
    def starts_at(self) -> datetime | None: ...  # noqa: D102 (as the column)
    @property
    def ends_at(self) -> datetime | None: ...  # noqa: D102 (as the column)
    @property
    def approved_at(self) -> datetime | None: ...  # noqa: D102 (as the column)


@dataclass(frozen=True, slots=True)
class MissingPurposeField:
    """Something that a sensitive purpose lacks: which field, what is wrong with it, and where it is set."""

    field: str
    detail: str
    where: str


def find_missing_fields(
    purpose: Purpose, declared: PurposeDeclaration, retention: RetentionSettings
) -> list[MissingPurposeField]:
    """What a declaration lacks before it can be approved; nothing where the purpose is not sensitive."""
    if not purpose.sensitive:
        return []
    here = f"PATCH /v1/sites/{{site_id}}/purposes/{purpose.name}"
    found: list[MissingPurposeField] = []

    def lacks(field: str, detail: str, where: str = here) -> None:
        found.append(MissingPurposeField(field, detail, where))

    if declared.legal_basis is None:
        lacks("legal_basis", "By what right is not said.")
    elif declared.legal_basis == "not_personal_data":
        lacks("legal_basis", "Data of a sensitive purpose can be personal: name the basis.")
    for field in _TEXTS:
        if not getattr(declared, field):
            lacks(field, "It is not said.")
    if declared.ends_at is None:
        lacks("ends_at", "It has to end; it can be declared anew then.")
    _check_retention(purpose, retention, lacks)
    return found


def _check_retention(
    purpose: Purpose, retention: RetentionSettings, lacks: Callable[[str, str, str], None]
) -> None:
    where = "PUT /v1/sites/{site_id}/retention"
    if retention.days(purpose.name) is None:
        lacks("retention", f"For how many days it is kept is not set (`purposes.{purpose.name}`).", where)
    elif not retention.removes:
        lacks("retention", "The site does not remove what is older (`removes`).", where)


def compute_purpose_state(
    purpose: Purpose, declared: PurposeDeclaration | None, retention: RetentionSettings, now: datetime
) -> PurposeState:
    """What holds of a purpose now."""
    if declared is None:
        return "not_declared"
    if declared.ends_at is not None and declared.ends_at <= now:
        return "ended"
    if purpose.sensitive and declared.approved_at is None:
        return "incomplete" if find_missing_fields(purpose, declared, retention) else "awaiting_approval"
    if declared.starts_at is not None and declared.starts_at > now:
        return "upcoming"
    return "active"


def exceeds_longest_duration(ends_at: datetime, now: datetime) -> bool:
    """Whether a sensitive purpose would last too long."""
    return ends_at > now + timedelta(days=SENSITIVE_PURPOSE_MAX_DAYS)


def is_retention_weaker(purpose: Purpose, before: RetentionSettings, after: RetentionSettings) -> bool:
    """Whether data of a purpose would be kept longer than before, or be removed no more."""
    was, now = (each.days(purpose.name) if each.removes else None for each in (before, after))
    # What was kept for ever cannot be kept longer.
    return was is not None and (now is None or now > was)
