"""Writes what the evaluator found: alerts that fire and alerts that resolve, with their outbox events.

Works in the transaction of the samples, in a handful of statements however many transitions there are. Must
not decide whether a rule fires, and must not commit, notify or count: a batch may be rolled back and run
again.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from app.alerts.events import COLUMNS, event
from app.core.database import RawConnection
from app.core.instants import to_datetime
from app.rules.evaluator import CompiledRule, Transition
from app.webhooks.outbox import OutboxRecord, enqueue

_RETURNING: Final = "a.id, r.name AS rule_name, " + ", ".join(f"a.{column}" for column in COLUMNS)

_RESOLVE: Final = f"""
UPDATE alerts a
SET state = 'resolved', resolved_at = greatest(t.at, a.started_at), resolved_value = t.value,
    resolution = t.reason, sequence = a.sequence + 1, updated_at = $5
FROM unnest($1::uuid[], $2::timestamptz[], $3::float8[], $4::text[]) AS t (id, at, value, reason), rules r
WHERE a.id = t.id AND a.state = 'firing' AND r.id = a.rule_id
RETURNING {_RETURNING}
"""  # noqa: S608 (column names of ours)

# The state of a box may be lost (restored from a backup, say): an alert that nothing would ever resolve must
# give way to the one that fires now, or no alert could be told at all.
_SUPERSEDE: Final = f"""
UPDATE alerts a
SET state = 'resolved', resolved_at = greatest(t.at, a.started_at), resolution = 'superseded',
    sequence = a.sequence + 1, updated_at = $4
FROM unnest($1::uuid[], $2::int[], $3::timestamptz[]) AS t (rule_id, box_key, at), rules r
WHERE a.rule_id = t.rule_id AND a.box_key = t.box_key AND a.state = 'firing' AND r.id = a.rule_id
RETURNING {_RETURNING}
"""  # noqa: S608 (column names of ours)

_INSERTED: Final = (
    ("id", "uuid"),
    ("organisation_id", "uuid"),
    ("rule_id", "uuid"),
    ("rule_version", "int"),
    ("site_id", "uuid"),
    ("box_key", "int"),
    ("box", "text"),
    ("metric", "text"),
    ("severity", "text"),
    ("state", "text"),
    ("value", "float8"),
    ("threshold", "float8"),
    ("clear", "float8"),
    ("resolved_value", "float8"),
    ("pending_since", "timestamptz"),
    ("started_at", "timestamptz"),
    ("resolved_at", "timestamptz"),
    ("resolution", "text"),
    ("sequence", "int"),
)
_NAMES: Final = ", ".join(name for name, _ in _INSERTED)
_ARRAYS: Final = ", ".join(f"${place}::{kind}[]" for place, (_, kind) in enumerate(_INSERTED, 1))
_NOW: Final = f"${len(_INSERTED) + 1}"

# A rule that was taken away meanwhile fires no more: its row is skipped rather than the batch refused.
_INSERT: Final = f"""
INSERT INTO alerts ({_NAMES}, created_at, updated_at)
SELECT {", ".join(f"t.{name}" for name, _ in _INSERTED)}, {_NOW}, {_NOW}
FROM unnest({_ARRAYS}) AS t ({_NAMES})
JOIN rules r ON r.id = t.rule_id AND r.enabled AND r.deleted_at IS NULL
RETURNING id
"""  # noqa: S608 (column names of ours)


async def record(
    connection: RawConnection, transitions: Sequence[Transition], *, boxes: Mapping[int, str], now: datetime
) -> int:
    """Write transitions and their events in the caller's transaction.

    Args:
        connection: in a transaction that holds the rows of these boxes' states.
        transitions: as the evaluator gave them; those of one box in their order.
        boxes: box key → the box's id.
        now: when this is done, aware.

    Returns:
        How many outbox events were written.
    """
    if not transitions:
        return 0
    fired = {step.alert_id: step for step in transitions if step.kind == "firing"}
    ended = {step.alert_id: step for step in transitions if step.kind == "resolved"}
    # First what ends, then what begins: a rule may resolve and fire again in one batch.
    events = await _resolve(
        connection, [step for alert_id, step in ended.items() if alert_id not in fired], now
    )
    superseded = await _supersede(connection, list(fired.values()), now)
    events |= await _insert(connection, fired, ended, boxes, now)
    ordered = [
        events[step.alert_id, step.kind] for step in transitions if (step.alert_id, step.kind) in events
    ]
    await enqueue(connection, [*superseded, *ordered])
    return len(superseded) + len(ordered)


_Events = dict[tuple[UUID, str], OutboxRecord]


async def _resolve(connection: RawConnection, steps: Sequence[Transition], now: datetime) -> _Events:
    if not steps:
        return {}
    rows = await connection.fetch(
        _RESOLVE,
        [step.alert_id for step in steps],
        [to_datetime(step.time_us) for step in steps],
        [step.value for step in steps],
        [step.reason for step in steps],
        now,
    )
    return {
        (row["id"], "resolved"): event("alert.resolved", dict(row), row["rule_name"], now) for row in rows
    }


async def _supersede(
    connection: RawConnection, steps: Sequence[Transition], now: datetime
) -> list[OutboxRecord]:
    # One line for each rule and box: it may have fired more than once.
    first = {(step.rule_id, step.box_key): step for step in reversed(steps)}
    if not first:
        return []
    rows = await connection.fetch(
        _SUPERSEDE,
        [rule_id for rule_id, _ in first],
        [box_key for _, box_key in first],
        [to_datetime(step.time_us) for step in first.values()],
        now,
    )
    return [event("alert.resolved", dict(row), row["rule_name"], now) for row in rows]


async def _insert(
    connection: RawConnection,
    fired: Mapping[UUID, Transition],
    ended: Mapping[UUID, Transition],
    boxes: Mapping[int, str],
    now: datetime,
) -> _Events:
    if not fired:
        return {}
    events: _Events = {}
    rows: list[dict[str, Any]] = []
    for alert_id, step in fired.items():
        rule = step.rule
        if rule is None:
            raise ValueError("a rule that is gone cannot fire")
        alert = _alert(step, rule, boxes[step.box_key])
        events[alert_id, "firing"] = event("alert.firing", alert, rule.name, now)
        end = ended.get(alert_id)
        if end is not None:
            alert = _ended(alert, end)
            events[alert_id, "resolved"] = event("alert.resolved", alert, rule.name, now)
        rows.append(alert)
    columns = [[row[name] for row in rows] for name, _ in _INSERTED]
    written = {row["id"] for row in await connection.fetch(_INSERT, *columns, now)}
    return {key: found for key, found in events.items() if key[0] in written}


def _alert(step: Transition, rule: CompiledRule, box: str) -> dict[str, Any]:
    return {
        "id": step.alert_id,
        "organisation_id": rule.organisation_id,
        "rule_id": rule.id,
        "rule_version": rule.version,
        "site_id": rule.site_id,
        "box_key": step.box_key,
        "box": box,
        "metric": rule.metric,
        "severity": rule.severity,
        "state": "firing",
        "value": step.value,
        "threshold": rule.threshold,
        "clear": rule.clear,
        "resolved_value": None,
        "pending_since": to_datetime(step.pending_since_us),
        "started_at": to_datetime(step.time_us),
        "resolved_at": None,
        "resolution": None,
        "acknowledged_at": None,
        "sequence": step.sequence,
    }


def _ended(alert: dict[str, Any], end: Transition) -> dict[str, Any]:
    return alert | {
        "state": "resolved",
        "resolved_value": end.value,
        "resolved_at": to_datetime(end.time_us),
        "resolution": end.reason,
        "sequence": end.sequence,
    }
