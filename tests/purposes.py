"""Purposes for tests of other rooms: what a site has to have declared before sensitive data are taken."""

from datetime import UTC, datetime, timedelta
from typing import Final
from uuid import UUID, uuid4

import asyncpg

from app.catalogue.purposes import PURPOSES_BY_NAME

_COLUMNS: Final = (
    *("sensitive", "legal_basis", "legal_reference", "controller", "contact", "impact_assessment", "notice"),
    *("description", "open_data", "starts_at", "ends_at", "declared_by", "declared_kind", "approved_by"),
    "approved_at",
)
_NAMES: Final = ", ".join(_COLUMNS)
_PLACES: Final = ", ".join(f"${number}" for number, _ in enumerate(_COLUMNS, 3))
_SET: Final = ", ".join(f"{column} = excluded.{column}" for column in _COLUMNS)
_APPROVE: Final = f"""
INSERT INTO site_purposes (site_id, purpose, organisation_id, {_NAMES})
SELECT id, $2, organisation_id, {_PLACES} FROM sites WHERE id = $1
ON CONFLICT (site_id, purpose) DO UPDATE SET {_SET}
RETURNING revision
"""  # noqa: S608 (constants)


async def approve(
    connection: asyncpg.Connection,
    site_id: str | UUID,
    purpose: str = "acoustic_safety",
    **fields: object,
) -> None:
    """Declare a purpose with every field, and approve it as another person, whatever was declared before.

    Args:
        connection: the owner's, who may do all.
        site_id: where.
        purpose: which.
        fields: columns that are to be other than usual; without limits it began in 2000 and ends in a year.
    """
    usual: dict[str, object] = {
        "sensitive": PURPOSES_BY_NAME[purpose].sensitive,  # type: ignore[index]
        "legal_basis": "public_task",
        "legal_reference": "Decision 2026-17 of the city council",
        "controller": "City of Toulouse",
        "contact": "privacy@toulouse.example",
        "impact_assessment": "DPIA-2026-004",
        "notice": "https://toulouse.example/sound",
        "description": "Tells patrols where a shot was fired.",
        "open_data": False,
        "starts_at": datetime(2000, 1, 1, tzinfo=UTC),
        "ends_at": datetime.now(UTC) + timedelta(days=365),
        "declared_by": uuid4(),
        "declared_kind": "user",
        "approved_by": uuid4(),
        "approved_at": datetime.now(UTC),
    }
    values = usual | fields
    if unknown := values.keys() - set(_COLUMNS):
        raise ValueError(f"no such columns: {sorted(unknown)}")
    site = site_id if isinstance(site_id, UUID) else UUID(site_id)
    if await connection.fetchval(_APPROVE, site, purpose, *map(values.__getitem__, _COLUMNS)) is None:
        raise LookupError(f"no site {site}")
