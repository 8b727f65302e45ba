"""Sends firing alerts to Alertmanager again every five minutes, since it stores alerts in memory only.

A repeat has all firing alerts of a channel, and those resolved recently: so the next repeat corrects one that
raced with a resolution. It is one delivery, or several if there are very many alerts. Each has a single
attempt, since the next repeat follows. A repeat replaces the one before, so that no old one can be replayed.
Without such alerts there is no repeat.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import UUID

import msgspec

from app.alerts.alert_events import build_alert_event
from app.alerts.alert_row_writer import SELECTED_COLUMNS, AlertRow, decode_alert_row
from app.notifications.delivery.alertmanager_repeat_repository import (
    delete_previous_repeats,
    lock_due_repeat_channels,
)
from app.notifications.delivery.new_deliveries import NewDelivery, add_deliveries
from app.notifications.events.event_enrichment import add_event_details
from app.notifications.events.event_types import ALERT_REPEAT, SEVERITIES
from app.notifications.events.outbox import OutboxRecord, wake_dispatcher
from app.notifications.formats.alertmanager_api import FIRING_LIFETIME, render_alertmanager_events
from app.notifications.formats.native_and_cloudevents import build_native_body
from app.notifications.settings import WebhookSettings
from app.platform.db.database import RawConnection
from app.platform.kernel.ids import first_id, new_id

REPEAT_INTERVAL: Final = timedelta(minutes=5)
"""The interval of repeats."""

RESOLVED_REPEAT_SPAN: Final = timedelta(minutes=15)
"""Alerts that were resolved within this time are repeated too."""

MAX_REPEATED_ALERTS: Final = 2000
"""The most alerts in one delivery of a repeat."""

_ALERTS: Final = f"""
SELECT {SELECTED_COLUMNS}, r.name AS rule_name FROM alerts a JOIN rules_definitions r ON r.id = a.rule_id
WHERE a.organisation_id = $1 AND NOT a.dry_run AND a.notified AND a.suppressed IS NULL
    AND (a.state = 'firing' OR a.updated_at > now() - $2::interval)
    AND ($3::uuid[] IS NULL OR a.site_id = ANY ($3)) AND a.highest_severity = ANY ($4)
    AND ($5::uuid IS NULL OR a.id < $5)
ORDER BY a.id DESC LIMIT $6
"""  # noqa: S608 (column names of ours)


async def repeat_alerts(connection: RawConnection, settings: WebhookSettings, public_url: str) -> int:
    """Create due repeats, and wake the dispatcher if there are any.

    Args:
        connection: Outside a transaction.
        settings: The schedule of deliveries.
        public_url: The base of links.

    Returns:
        The number of deliveries.
    """
    async with connection.transaction():
        due = await lock_due_repeat_channels(connection, REPEAT_INTERVAL, _since(2 * REPEAT_INTERVAL))
        deliveries = [
            delivery
            for channel in due
            for delivery in await _repeat(connection, channel, settings, public_url)
        ]
        await add_deliveries(connection, deliveries)
    if deliveries:
        await wake_dispatcher(connection)
    return len(deliveries)


async def _repeat(
    connection: RawConnection,
    channel: Any,  # noqa: ANN401 (a row)
    settings: WebhookSettings,
    public_url: str,
) -> list[NewDelivery]:
    least = channel["min_severity"]
    severities = list(SEVERITIES if least is None else SEVERITIES[SEVERITIES.index(least) :])
    await delete_previous_repeats(connection, channel["id"], _since(FIRING_LIFETIME + REPEAT_INTERVAL))
    deliveries: list[NewDelivery] = []
    last: UUID | None = None
    while True:
        rows = await connection.fetch(
            _ALERTS,
            channel["organisation_id"],
            RESOLVED_REPEAT_SPAN,
            channel["site_ids"],
            severities,
            last,
            MAX_REPEATED_ALERTS,
        )
        if rows:
            deliveries.append(await _make_delivery(connection, channel, rows, settings, public_url))
        if len(rows) < MAX_REPEATED_ALERTS:
            return deliveries
        last = rows[-1]["id"]


async def _make_delivery(
    connection: RawConnection,
    channel: Any,  # noqa: ANN401 (a row)
    rows: Sequence[Any],
    settings: WebhookSettings,
    public_url: str,
) -> NewDelivery:
    now: datetime = channel["now"]
    records = await add_event_details(connection, _events(list(map(decode_alert_row, rows)), now))
    bodies = [
        build_native_body(each.type, now, msgspec.json.encode(each.payload).decode(), public_url)
        for each in records
    ]
    delivery = NewDelivery.to(
        channel["id"],
        channel["organisation_id"],
        event_id=new_id(),
        site_id=None,
        type_=ALERT_REPEAT,
        format_="native",
        body=render_alertmanager_events(bodies, channel["organisation_id"], public_url),
        created_at=now,
        now=now,
        settings=settings,
    )
    # Starts at the end of its schedule, so that a failure is not retried.
    return delivery._replace(due_at=now, attempt_count=len(settings.schedule_s) - 1)


def _since(span: timedelta) -> UUID:
    """Return the lowest id within a time span, with a minute of margin for clock differences."""
    return first_id(datetime.now(UTC) - span - timedelta(minutes=1))


def _events(rows: Sequence[AlertRow], now: datetime) -> list[OutboxRecord]:
    """Build an event with the current state of each alert."""
    return [
        build_alert_event(
            "alert.firing" if row["state"] == "firing" else "alert.resolved", row, row["rule_name"], now
        )
        for row in rows
    ]
