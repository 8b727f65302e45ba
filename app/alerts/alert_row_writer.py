"""Inserts and updates rows of `alerts` that samples or timers changed, and decodes rows.

Used by the transition recorder and the alert timers. Must not decide what changes.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

import msgspec

from app.alerts.timeline_writer import encode_jsonb
from app.platform.db.database import RawConnection

type AlertRow = dict[str, Any]
"""A row by column name, with decoded jsonb columns."""

_FIXED: Final = {
    "organisation_id": "uuid",
    "rule_id": "uuid",
    "rule_version": "int",
    "site_id": "uuid",
    "box_key": "int",
    "box": "text",
    "pending_since": "timestamptz",
    "started_at": "timestamptz",
    "description": "text",
    "dry_run": "boolean",
    "remind_us": "bigint",
}
_CHANGING: Final = {
    "metric": "text",
    "severity": "text",
    "highest_severity": "text",
    "state": "text",
    "value": "float8",
    "threshold": "float8",
    "clear": "float8",
    "cause": "jsonb",
    "resolved_value": "float8",
    "resolved_at": "timestamptz",
    "resolution": "text",
    "acknowledged_at": "timestamptz",
    "acknowledged_by": "uuid",
    "acknowledged_by_kind": "text",
    "acknowledged_by_name": "text",
    "sequence": "int",
    "suppressed": "jsonb",
    "told_severity": "text",
    "escalated_to": "text",
    "escalated_at": "timestamptz",
    "escalations": "jsonb",
    "escalate_at": "timestamptz",
    "remind_at": "timestamptz",
}
_JSON: Final = frozenset(name for name, kind in _CHANGING.items() if kind == "jsonb")
_INSERTED: Final = {"id": "uuid", **_FIXED, **_CHANGING}
_UPDATED: Final = {"id": "uuid", **_CHANGING}

SELECTED_COLUMNS: Final = ", ".join(
    f"a.{name}::text" if name in _JSON else f"a.{name}" for name in (*_INSERTED, "assignee")
)
"""The select list of `alerts a` for `decode_alert_row`."""


def _arrays(columns: dict[str, str]) -> str:
    # JSON is sent as text and cast by the server: so the JSON codec of the connection does not matter.
    kinds = ("text" if name in _JSON else kind for name, kind in columns.items())
    return ", ".join(f"${number}::{kind}[]" for number, kind in enumerate(kinds, 1))


def _input_sql(name: str) -> str:
    return f"t.{name}::jsonb" if name in _JSON else f"t.{name}"


_UPDATE: Final = f"""
UPDATE alerts a
SET {", ".join(f"{name} = {_input_sql(name)}" for name in _CHANGING)}, updated_at = ${len(_UPDATED) + 1}
FROM unnest({_arrays(_UPDATED)}) AS t ({", ".join(_UPDATED)})
WHERE a.id = t.id
"""  # noqa: S608 (column names of ours)
_INSERT: Final = f"""
INSERT INTO alerts ({", ".join(_INSERTED)}, created_at, updated_at)
SELECT {", ".join(map(_input_sql, _INSERTED))}, ${len(_INSERTED) + 1}, ${len(_INSERTED) + 1}
FROM unnest({_arrays(_INSERTED)}) AS t ({", ".join(_INSERTED)})
"""  # noqa: S608 (column names of ours)


def decode_alert_row(record: Any) -> AlertRow:  # noqa: ANN401 (asyncpg's records are not typed)
    """Decode a row that was selected with `SELECTED_COLUMNS`; further columns are passed on."""
    row = dict(record)
    for name in _JSON:
        if row[name] is not None:
            row[name] = msgspec.json.decode(row[name])
    return row


async def insert_alerts(connection: RawConnection, rows: Sequence[AlertRow], now: datetime) -> None:
    """Insert rows in one statement."""
    if rows:
        await connection.execute(_INSERT, *_columns(_INSERTED, rows), now)


async def update_alerts(connection: RawConnection, rows: Sequence[AlertRow], now: datetime) -> None:
    """Update the changeable columns of locked rows in one statement."""
    if rows:
        await connection.execute(_UPDATE, *_columns(_UPDATED, rows), now)


def _columns(columns: dict[str, str], rows: Sequence[AlertRow]) -> list[list[Any]]:
    return [[encode_jsonb(row[name]) if name in _JSON else row[name] for row in rows] for name in columns]
