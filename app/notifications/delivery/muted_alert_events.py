"""Holds back or drops the events of muted alerts when their group is sent, in SQL.

Each row of `group_events` is decided in the transaction that sends the group, by the alert's own column
`suppressed`, which the alert timers update. No alert is locked or changed.

An endpoint gets an alert's end exactly if it got its beginning. So if a muted alert ends while its beginning
still waits in a group, both are dropped.

If an endpoint has no grouping any more, all its waiting events are sent: their ends are sent ungrouped.
"""

from collections.abc import Sequence
from typing import Final
from uuid import UUID

from app.platform.db.database import RawConnection

# The events of an ended alert are held until all its outbox entries are fanned out: its end may belong to
# another group (of another severity, for example). These entries are not newer than the alert's last change;
# one minute is added for clock differences. A deleted alert (with its box) counts as muted if it was muted
# at the last check.
_SORT: Final = """
WITH muted AS MATERIALIZED (
    SELECT waits.group_id, waits.alert_id, waits.firing, waiting.endpoint_id, waiting.organisation_id,
        alert.state = 'firing' AS goes_on, alert.updated_at
    FROM group_events AS waits
    JOIN delivery_groups AS waiting ON waiting.id = waits.group_id
    JOIN webhook_endpoints AS endpoint ON endpoint.id = waiting.endpoint_id
    LEFT JOIN alerts_muting AS alert ON alert.id = waits.alert_id
    WHERE waits.group_id = ANY ($1::uuid[]) AND endpoint.grouping IS NOT NULL
        AND CASE WHEN alert.id IS NOT NULL THEN alert.suppressed IS NOT NULL ELSE EXISTS (
            SELECT FROM delivery_groups AS other JOIN group_events AS more ON more.group_id = other.id
            WHERE other.endpoint_id = endpoint.id AND more.alert_id = waits.alert_id AND more.held
        ) END
),
fates AS MATERIALIZED (
    SELECT group_id, alert_id, CASE
        WHEN goes_on THEN 'held'
        WHEN EXISTS (
            SELECT FROM outbox WHERE fanned_out_at IS NULL AND organisation_id = muted.organisation_id
                AND created_at <= muted.updated_at + interval '1 minute'
        ) THEN 'held'
        WHEN firing THEN CASE WHEN EXISTS (
            SELECT FROM delivery_groups AS other JOIN group_events AS more ON more.group_id = other.id
            WHERE other.endpoint_id = muted.endpoint_id AND more.alert_id = muted.alert_id
                AND NOT more.firing
        ) THEN 'held' ELSE 'dropped' END
        WHEN EXISTS (
            SELECT FROM delivery_groups AS other JOIN group_events AS more ON more.group_id = other.id
            WHERE other.endpoint_id = muted.endpoint_id AND more.alert_id = muted.alert_id AND more.begins
        ) THEN 'dropped'
        ELSE 'sent' END AS fate
    FROM muted
),
dropped AS (
    DELETE FROM group_events AS known USING fates
    WHERE known.group_id = fates.group_id AND known.alert_id = fates.alert_id AND fate = 'dropped'
)
UPDATE group_events AS known SET held = NOT known.held
FROM (
    SELECT group_id, alert_id, coalesce(fate, 'sent') AS fate
    FROM group_events LEFT JOIN fates USING (group_id, alert_id)
    WHERE group_id = ANY ($1::uuid[])
) AS decided
WHERE known.group_id = decided.group_id AND known.alert_id = decided.alert_id
    AND decided.fate <> 'dropped' AND known.held <> (decided.fate = 'held')
"""


async def apply_group_mutes(connection: RawConnection, group_ids: Sequence[UUID]) -> None:
    """Mark events of muted alerts as `held`, delete events that are never to be sent, and unmark the rest.

    Args:
        connection: In the transaction that sends the groups and has locked them.
        group_ids: The groups.
    """
    await connection.execute(_SORT, group_ids)
