"""Computes the state and the missing fields of a site's declared purpose of data collection. Pure.

Defines the required fields and the longest duration of a sensitive purpose. `app.registry.purpose_policy`
decides from the same columns which measurements are accepted.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Literal, Protocol

from app.catalogue.purposes import Purpose
from app.registry.site_retention import RetentionSettings

PurposeState = Literal["not_declared", "incomplete", "awaiting_approval", "upcoming", "active", "ended"]
"""The state of a purpose at a site. Data are accepted only in `active`."""

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
"""The legal basis: article 6 of the GDPR in its own order, the Law Enforcement Directive (EU) 2016/680,
another law, or the statement that no personal data are processed."""

SENSITIVE_PURPOSE_MAX_DAYS: Final = 5 * 365 + 1
"""The longest duration of a sensitive purpose: five years with a leap day. Then it must be declared again."""
REQUIRED_TEXTS: Final = (
    *("legal_reference", "controller", "contact", "impact_assessment", "notice", "description"),
)
"""The texts that a declaration of a sensitive purpose needs."""


class PurposeDeclaration(Protocol):
    """The columns of `SitePurpose` from which the state is computed."""

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
    """A missing or invalid field of a sensitive purpose: name, fault, and the request that sets it."""

    field: str
    detail: str
    where: str


def find_missing_fields(
    purpose: Purpose, declared: PurposeDeclaration, retention: RetentionSettings
) -> list[MissingPurposeField]:
    """Find the fields that a declaration needs before its approval; none if the purpose is not sensitive."""
    if not purpose.sensitive:
        return []
    here = f"PATCH /v1/sites/{{site_id}}/purposes/{purpose.name}"
    found: list[MissingPurposeField] = []

    def add(field: str, detail: str, where: str = here) -> None:
        found.append(MissingPurposeField(field, detail, where))

    if declared.legal_basis is None:
        add("legal_basis", "The legal basis is missing.")
    elif declared.legal_basis == "not_personal_data":
        add("legal_basis", "Data of a sensitive purpose can be personal: name the basis.")
    for field in REQUIRED_TEXTS:
        if not getattr(declared, field):
            add(field, "The field is missing.")
    if declared.ends_at is None:
        add("ends_at", "A sensitive purpose needs an end. You can declare it again afterwards.")
    _check_retention(purpose, retention, add)
    return found


def _check_retention(
    purpose: Purpose, retention: RetentionSettings, add: Callable[[str, str, str], None]
) -> None:
    where = "PUT /v1/sites/{site_id}/retention"
    if retention.days(purpose.name) is None:
        add("retention", f"The retention is missing: set days in `purposes.{purpose.name}`.", where)
    elif not retention.removes:
        add("retention", "The site does not remove older data: set `removes`.", where)


def compute_purpose_state(
    purpose: Purpose, declared: PurposeDeclaration | None, retention: RetentionSettings, now: datetime
) -> PurposeState:
    """Compute the state of a purpose.

    Args:
        purpose: The purpose.
        declared: Its declaration; None: not declared.
        retention: The site's retention settings.
        now: The time.
    """
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
    """Whether a sensitive purpose would exceed its longest duration."""
    return ends_at > now + timedelta(days=SENSITIVE_PURPOSE_MAX_DAYS)


def is_retention_weaker(purpose: Purpose, before: RetentionSettings, after: RetentionSettings) -> bool:
    """Whether data of a purpose would be stored longer than before, or no longer be removed."""
    was, now = (each.days(purpose.name) if each.removes else None for each in (before, after))
    # Data that were stored for ever cannot be stored longer.
    return was is not None and (now is None or now > was)
