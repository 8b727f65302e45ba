"""Writes changes of alert state to alerts, timelines and the outbox, in the samples' transaction.

Uses a constant number of statements. Must not commit, wake the dispatcher or count metrics: a batch may be
rolled back and retried. Alerts are locked in the order of their ids, to avoid deadlocks.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final

from app.alerts import alert_row_writer
from app.alerts.muting_queries import find_muted
from app.alerts.timeline_writer import write_timeline
from app.alerts.transition_applier import TransitionApplier
from app.notifications.events.outbox import enqueue_events
from app.platform.db.database import RawConnection
from app.registry.cross_tenant_repository import read_box_ids
from app.rules.definitions.rule_queries import read_rule_descriptions
from app.rules.engine.threshold_evaluator import AlertTransition

_KNOWN: Final = f"""
SELECT {alert_row_writer.SELECTED_COLUMNS}, r.name AS rule_name, now() AS clock
FROM alerts a JOIN rules_definitions r ON r.id = a.rule_id
WHERE a.id IN (
    SELECT unnest($1::uuid[])
    UNION ALL
    SELECT f.id FROM unnest($2::uuid[], $3::int[]) AS t (rule_id, box_key)
    JOIN alerts f ON f.rule_id = t.rule_id AND coalesce(f.box_key, 0) = t.box_key AND f.state = 'firing'
)
ORDER BY a.id
FOR UPDATE OF a
"""  # noqa: S608 (column names of ours)


async def record_transitions(
    connection: RawConnection,
    transitions: Sequence[AlertTransition],
    *,
    boxes: Mapping[int, str],
    now: datetime,
) -> int:
    """Write transitions with their timeline entries and outbox events in the caller's transaction.

    Args:
        connection: in a transaction that has passed the ingest barrier and has locked the states of these
            boxes and sites.
        transitions: the transitions of the evaluator; those of one alert in order.
        boxes: the ids of firing boxes, by key.
        now: the current time, aware.

    Returns:
        The number of outbox events.
    """
    applier = await _load(connection, transitions, boxes, now) if transitions else None
    if applier is None:
        return 0
    for step in transitions:
        applier.apply(step)
    # Updates before inserts: a rule may resolve and fire again in one batch.
    await alert_row_writer.update_alerts(connection, list(applier.changed.values()), now)
    await alert_row_writer.insert_alerts(connection, list(applier.new.values()), now)
    candidates = applier.find_mute_candidates()
    if candidates:
        # After all writes: alerts of a batch may mute each other.
        muted = await find_muted(connection, candidates, is_ingest=True)
        await alert_row_writer.update_alerts(connection, applier.mute(muted), now)
    await write_timeline(connection, applier.entries)
    events = applier.list_outbox_records()
    await enqueue_events(connection, events)
    return len(events)


async def _load(
    connection: RawConnection, transitions: Sequence[AlertTransition], boxes: Mapping[int, str], now: datetime
) -> TransitionApplier | None:
    """Lock the alerts of transitions and load their rules; None if there are neither."""
    fired = {step.alert_id: step for step in transitions if step.kind == "firing"}
    keys = {(step.rule_id, step.box_key or 0) for step in fired.values()}
    known = await connection.fetch(
        _KNOWN,
        [step.alert_id for step in transitions if step.alert_id not in fired],
        [rule_id for rule_id, _ in keys],
        [box_key for _, box_key in keys],
    )
    rules = await read_rule_descriptions(connection, [rule_id for rule_id, _ in keys]) if keys else []
    if not known and not rules:
        return None
    clock: datetime = (known or rules)[0]["clock"]
    descriptions = {row["id"]: row["description"] for row in rules}
    box_ids = await _add_missing_boxes(connection, transitions, boxes)
    return TransitionApplier(map(alert_row_writer.decode_alert_row, known), descriptions, box_ids, now, clock)


async def _add_missing_boxes(
    connection: RawConnection, transitions: Sequence[AlertTransition], boxes: Mapping[int, str]
) -> Mapping[int, str]:
    """Add the ids of boxes that cause an alert of their site but are not in this batch."""
    causes = (step.cause.boxes for step in transitions if step.cause is not None)
    missing = {key for keys in causes for key in keys} - boxes.keys()
    if not missing:
        return boxes
    return {**boxes, **await read_box_ids(connection, missing)}
