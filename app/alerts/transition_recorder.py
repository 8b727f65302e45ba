"""Writes what the evaluator found: alerts that fire, change and resolve, their timelines and outbox events.

Works in the transaction of the samples, in a handful of statements however many transitions there are. Must
not decide whether a rule fires, and must not commit, notify or count: a batch may be rolled back and run
again.

Alerts are locked in the order of their ids, as everybody does who locks several of them.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final

from app.alerts import alert_bulk_repository
from app.alerts.alert_timeline import write_timeline
from app.alerts.alert_transitions import TransitionApplier
from app.alerts.muting_queries import find_muted
from app.notifications.events.outbox import enqueue_events
from app.platform.db.database import RawConnection
from app.rules.engine.threshold_evaluator import AlertTransition

_KNOWN: Final = f"""
SELECT {alert_bulk_repository.SELECTED_COLUMNS}, r.name AS rule_name, now() AS clock
FROM alerts a JOIN rules r ON r.id = a.rule_id
WHERE a.id IN (
    SELECT unnest($1::uuid[])
    UNION ALL
    SELECT f.id FROM unnest($2::uuid[], $3::int[]) AS t (rule_id, box_key)
    JOIN alerts f ON f.rule_id = t.rule_id AND coalesce(f.box_key, 0) = t.box_key AND f.state = 'firing'
)
ORDER BY a.id
FOR UPDATE OF a
"""  # noqa: S608 (column names of ours)
_RULES: Final = """
SELECT id, description, now() AS clock FROM rules
WHERE id = ANY ($1::uuid[]) AND enabled AND deleted_at IS NULL
"""
_BOXES: Final = "SELECT key, id FROM boxes WHERE key = ANY ($1::int[])"


async def record_transitions(
    connection: RawConnection,
    transitions: Sequence[AlertTransition],
    *,
    boxes: Mapping[int, str],
    now: datetime,
) -> int:
    """Write transitions, and what is to be told of them, in the caller's transaction.

    Args:
        connection: in a transaction that has passed the gate, and holds the rows of the states of these
            boxes and sites.
        transitions: as the evaluator gave them; those of one alert in their order.
        boxes: box key → the box's id, of the boxes that fire.
        now: when this is done, aware.

    Returns:
        How many outbox events were written.
    """
    life = await _take(connection, transitions, boxes, now) if transitions else None
    if life is None:
        return 0
    for step in transitions:
        life.apply(step)
    # First what ends, then what begins: a rule may resolve and fire again in one batch.
    await alert_bulk_repository.update_alerts(connection, list(life.changed.values()), now)
    await alert_bulk_repository.insert_alerts(connection, list(life.new.values()), now)
    undecided = life.undecided()
    if undecided:
        # Once all is written: what fires in this batch may mute what fires in it.
        muted = await find_muted(connection, undecided)
        await alert_bulk_repository.update_alerts(connection, life.mute(muted), now)
    await write_timeline(connection, life.entries)
    events = life.told()
    await enqueue_events(connection, events)
    return len(events)


async def _take(
    connection: RawConnection, transitions: Sequence[AlertTransition], boxes: Mapping[int, str], now: datetime
) -> TransitionApplier | None:
    """Lock the alerts that transitions concern; None where there is nothing that they could change."""
    fired = {step.alert_id: step for step in transitions if step.kind == "firing"}
    places = {(step.rule_id, step.box_key or 0) for step in fired.values()}
    known = await connection.fetch(
        _KNOWN,
        [step.alert_id for step in transitions if step.alert_id not in fired],
        [rule_id for rule_id, _ in places],
        [box_key for _, box_key in places],
    )
    rules = await connection.fetch(_RULES, [rule_id for rule_id, _ in places]) if places else []
    if not known and not rules:
        return None
    clock: datetime = (known or rules)[0]["clock"]
    descriptions = {row["id"]: row["description"] for row in rules}
    named = await _named(connection, transitions, boxes)
    return TransitionApplier(
        map(alert_bulk_repository.decode_alert_row, known), descriptions, named, now, clock
    )


async def _named(
    connection: RawConnection, transitions: Sequence[AlertTransition], boxes: Mapping[int, str]
) -> Mapping[int, str]:
    """Add the ids of boxes that are behind an alert of their site, and sent nothing in this batch."""
    causes = (step.cause.boxes for step in transitions if step.cause is not None)
    missing = {key for keys in causes for key in keys} - boxes.keys()
    if not missing:
        return boxes
    return {**boxes, **{row["key"]: row["id"] for row in await connection.fetch(_BOXES, list(missing))}}
