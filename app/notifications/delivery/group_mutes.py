"""What of a group that is to be sent is muted by now, and is held back or taken out of it.

Owns the fate of each row of `group_events`, decided once, in the transaction that sends. It goes by what the
alert itself says (`alerts.suppressed`), which the sweep keeps; it locks no alert and changes none. An
endpoint hears of an alert's end exactly when it heard of its beginning, so a beginning that still waits when
the alert ends, muted, takes the end with it.

An endpoint whose grouping was taken away is sent all that waits: the end would reach it on its own.
"""

from collections.abc import Sequence
from typing import Final
from uuid import UUID

from app.platform.db.database import RawConnection

# Of an alert that is over, nothing is decided before all was fanned out that it told: its end may be on its
# way to another group (of another severity, say). It is as old as the alert's last change; a minute more is
# for clocks that differ. An alert that is gone (with its box) is muted if it was when that was last asked.
_SORT: Final = """
WITH muted AS MATERIALIZED (
    SELECT waits.group_id, waits.alert_id, waits.firing, waiting.endpoint_id, waiting.organisation_id,
        alert.state = 'firing' AS goes_on, alert.updated_at
    FROM group_events AS waits
    JOIN delivery_groups AS waiting ON waiting.id = waits.group_id
    JOIN webhook_endpoints AS endpoint ON endpoint.id = waiting.endpoint_id
    LEFT JOIN alerts AS alert ON alert.id = waits.alert_id
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
    """Mark as `held` what is held back of groups, delete what nobody is to hear of, and unmark the rest.

    Args:
        connection: In the transaction that sends the groups, which has locked them.
        group_ids: These groups.
    """
    await connection.execute(_SORT, group_ids)
