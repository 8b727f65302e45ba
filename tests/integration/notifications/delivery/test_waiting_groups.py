"""What is put together, and when it goes, on a real database; nothing is sent here."""

import json
from collections.abc import Sequence
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest

from app.notifications.delivery.delivery_leases import EndpointLoad, compute_next_due_s
from app.notifications.delivery.fanout import fan_out_events
from app.notifications.delivery.waiting_groups import GROUPS_PER_TRANSACTION, send_due_groups
from app.notifications.events.outbox import OutboxRecord, enqueue_events
from app.platform.db.database import Database
from app.settings import VigieSettings
from tests.integration.notifications.helpers import (
    RULE,
    SITE,
    add_endpoint,
    add_organisation,
    alert_event,
    event,
)

URL = "https://example.com/"
# Long: what a slow machine adds is little of it.
GROUPING = {"by": ["site", "rule"], "wait": "PT10M", "interval": "PT5H"}
AT_ITS_TIME = {**GROUPING, "wait": "PT0S", "interval": "PT0S"}


async def _gather(connection: asyncpg.Connection, settings: VigieSettings, *events: OutboxRecord) -> None:
    await enqueue_events(connection, events)
    await fan_out_events(connection, settings.webhooks)


async def _pass(connection: asyncpg.Connection, seconds: float) -> None:
    """Let the groups be older than they are."""
    await connection.execute(
        "UPDATE delivery_groups SET due_at = due_at - make_interval(secs => $1), "
        "idle_until = idle_until - make_interval(secs => $1)",
        seconds,
    )


async def _bodies(connection: asyncpg.Connection) -> list[dict[str, Any]]:
    rows = await connection.fetch("SELECT body FROM deliveries ORDER BY created_at, id")
    return [json.loads(row["body"]) for row in rows]


async def _due_in(connection: asyncpg.Connection) -> float | None:
    seconds: float | None = await connection.fetchval(
        "SELECT extract(epoch FROM due_at - now())::float8 FROM delivery_groups"
    )
    return seconds


async def _counts(connection: asyncpg.Connection) -> tuple[int, int, int]:
    """Groups, events that wait, deliveries."""
    row = await connection.fetchrow(
        "SELECT (SELECT count(*) FROM delivery_groups), (SELECT count(*) FROM group_events), "
        "(SELECT count(*) FROM deliveries)"
    )
    assert row is not None
    return tuple(row)


async def test_the_first_event_opens_the_group_and_later_ones_do_not_put_it_off(
    connection: asyncpg.Connection, settings: VigieSettings
) -> None:
    organisation = await add_organisation(connection)
    endpoint, _ = await add_endpoint(connection, organisation, URL, grouping=GROUPING)
    await _gather(connection, settings, alert_event(organisation))
    due_in = await _due_in(connection)
    assert due_in is not None
    assert 540 < due_in <= 600
    waits = await compute_next_due_s(connection, settings.webhooks)
    assert waits is not None
    assert 540 < waits <= 600
    await _pass(connection, 300)
    await _gather(connection, settings, alert_event(organisation), alert_event(organisation))
    assert not await send_due_groups(connection, settings.webhooks)
    assert await _counts(connection) == (1, 3, 0)
    await _pass(connection, 300)
    await send_due_groups(connection, settings.webhooks)
    assert await _counts(connection) == (1, 0, 1)
    row = await connection.fetchrow("SELECT * FROM deliveries")
    assert row is not None
    assert (row["endpoint_id"], row["organisation_id"], row["type"]) == (
        endpoint,
        organisation,
        "alert.group",
    )
    assert (row["state"], row["attempt_count"]) == ("pending", 0)
    assert await connection.fetchval("SELECT due_at <= now() FROM deliveries")
    (body,) = await _bodies(connection)
    assert body["data"]["group"] == {"site_id": str(SITE), "rule_id": str(RULE)}
    assert (body["data"]["firing"], body["data"]["resolved"], body["data"]["truncated"]) == (3, 0, 0)


async def test_what_comes_after_a_notification_waits_for_the_interval(
    connection: asyncpg.Connection, settings: VigieSettings
) -> None:
    organisation = await add_organisation(connection)
    endpoint, _ = await add_endpoint(connection, organisation, URL, grouping=GROUPING)
    await _gather(connection, settings, alert_event(organisation))
    await _pass(connection, 600)
    await send_due_groups(connection, settings.webhooks)
    # Of groups alone: the delivery that was made is due now.
    busy = [EndpointLoad(endpoint, 0, held=True)]
    assert await compute_next_due_s(connection, settings.webhooks, busy=busy) is None
    await _gather(connection, settings, alert_event(organisation))
    due_in = await _due_in(connection)
    assert due_in is not None
    assert 17_940 < due_in <= 18_000
    await _pass(connection, 18_000)
    await send_due_groups(connection, settings.webhooks)
    # Near the end of the interval the wait is what counts.
    await _pass(connection, 17_700)
    await _gather(connection, settings, alert_event(organisation))
    due_in = await _due_in(connection)
    assert due_in is not None
    assert 540 < due_in <= 600
    assert await _counts(connection) == (1, 1, 2)


async def test_a_group_that_was_silent_for_its_interval_is_forgotten(
    connection: asyncpg.Connection, settings: VigieSettings
) -> None:
    organisation = await add_organisation(connection)
    await add_endpoint(connection, organisation, URL, grouping=GROUPING)
    await _gather(connection, settings, alert_event(organisation))
    await _pass(connection, 600)
    await send_due_groups(connection, settings.webhooks)
    await _pass(connection, 18_001)
    await _gather(connection, settings, alert_event(organisation, site_id=uuid4()))
    await _pass(connection, 600)
    await send_due_groups(connection, settings.webhooks)
    assert await _counts(connection) == (1, 0, 2)


async def test_of_each_alert_the_latest_event_is_kept(
    connection: asyncpg.Connection, settings: VigieSettings
) -> None:
    organisation = await add_organisation(connection)
    await add_endpoint(connection, organisation, URL, grouping=AT_ITS_TIME)
    one, other, third = uuid4(), uuid4(), uuid4()

    def tell(alert: UUID, sequence: int, kind: str) -> OutboxRecord:
        return alert_event(organisation, type_=f"alert.{kind}", alert_id=alert, sequence=sequence)

    first = [tell(one, 1, "firing"), tell(other, 1, "firing"), tell(one, 2, "acknowledged")]
    await _gather(connection, settings, *first)
    # The third one is written late: another dispatcher was quicker.
    await _gather(connection, settings, tell(one, 4, "resolved"), tell(third, 1, "firing"))
    await _gather(connection, settings, tell(one, 3, "reminder"))
    await send_due_groups(connection, settings.webhooks)
    (body,) = await _bodies(connection)
    listed = [(e["data"]["alert_id"], e["type"], e["events_count"]) for e in body["data"]["events"]]
    assert listed == [
        (str(other), "alert.firing", 1),
        (str(third), "alert.firing", 1),
        (str(one), "alert.resolved", 4),
    ]
    assert (body["data"]["firing"], body["data"]["resolved"]) == (2, 1)
    assert body["data"]["events"][2]["data"]["sequence"] == 4
    assert body["data"]["events"][2]["timestamp"].endswith("Z")


@pytest.mark.parametrize(
    ("by", "groups"),
    [(["site"], 2), (["rule"], 2), (["severity"], 2), (["box"], 3), (["site", "rule", "severity", "box"], 5)],
)
async def test_events_go_together_by_what_is_named(
    connection: asyncpg.Connection, settings: VigieSettings, by: Sequence[str], groups: int
) -> None:
    organisation = await add_organisation(connection)
    await add_endpoint(connection, organisation, URL, grouping={**AT_ITS_TIME, "by": by})
    changes: list[dict[str, Any]] = [
        {},
        {},
        {"site_id": uuid4()},
        {"rule_id": uuid4()},
        {"severity": "critical", "box": "box-0002"},
        {"box": None},
    ]
    await _gather(connection, settings, *(alert_event(organisation, **change) for change in changes))
    await send_due_groups(connection, settings.webhooks)
    bodies = await _bodies(connection)
    assert len(bodies) == groups
    assert sum(body["data"]["firing"] for body in bodies) == len(changes)


async def test_more_than_five_hundred_alerts_are_counted_but_not_listed(
    connection: asyncpg.Connection, settings: VigieSettings
) -> None:
    organisation = await add_organisation(connection)
    await add_endpoint(connection, organisation, URL, grouping=AT_ITS_TIME)
    resolved = [alert_event(organisation, type_="alert.resolved", box=f"r-{n}") for n in range(20)]
    firing = [alert_event(organisation, box=f"f-{n}") for n in range(490)]
    await enqueue_events(connection, [*resolved, *firing])
    while await fan_out_events(connection, settings.webhooks):
        pass
    await send_due_groups(connection, settings.webhooks)
    (body,) = await _bodies(connection)
    data = body["data"]
    assert (data["firing"], data["resolved"], data["truncated"]) == (490, 20, 10)
    # What is firing comes first, each in the order of its arrival.
    expected = [*(f"f-{n}" for n in range(490)), *(f"r-{n}" for n in range(10))]
    assert [one["data"]["box"] for one in data["events"]] == expected


async def test_other_events_and_other_endpoints_are_as_ever(
    connection: asyncpg.Connection, settings: VigieSettings
) -> None:
    organisation = await add_organisation(connection)
    grouped, _ = await add_endpoint(connection, organisation, URL, grouping=GROUPING)
    plain, _ = await add_endpoint(connection, organisation, URL)
    dropped = event(organisation, type_="platform.messages_dropped")
    await _gather(connection, settings, alert_event(organisation), dropped)
    rows = await connection.fetch("SELECT endpoint_id, type FROM deliveries")
    assert {tuple(row) for row in rows} == {
        (plain, "alert.firing"),
        (plain, "platform.messages_dropped"),
        (grouped, "platform.messages_dropped"),
    }
    assert len(rows) == 3
    assert await connection.fetchval("SELECT endpoint_id FROM delivery_groups") == grouped


async def test_those_of_a_disabled_endpoint_wait_and_those_of_a_deleted_one_go(
    connection: asyncpg.Connection, settings: VigieSettings
) -> None:
    organisation = await add_organisation(connection)
    await add_endpoint(connection, organisation, URL, grouping=AT_ITS_TIME)
    await _gather(connection, settings, alert_event(organisation))
    await connection.execute("UPDATE webhook_endpoints SET enabled = false")
    await _gather(connection, settings, alert_event(organisation))
    await send_due_groups(connection, settings.webhooks)
    assert await _counts(connection) == (1, 1, 0)
    await connection.execute("UPDATE webhook_endpoints SET enabled = true")
    await send_due_groups(connection, settings.webhooks)
    assert (await _bodies(connection))[0]["data"]["firing"] == 1
    await _gather(connection, settings, alert_event(organisation))
    await connection.execute("DELETE FROM webhook_endpoints")
    assert await _counts(connection) == (0, 0, 0)


async def test_two_that_send_at_once_share_the_groups(
    database: Database, connection: asyncpg.Connection, settings: VigieSettings
) -> None:
    organisation = await add_organisation(connection)
    await add_endpoint(connection, organisation, URL, grouping={**AT_ITS_TIME, "by": ["box"]})
    events = [alert_event(organisation, box=f"box-{n}") for n in range(2 * GROUPS_PER_TRANSACTION)]
    await _gather(connection, settings, *events)
    other = await database.connect()
    try:
        async with other.transaction():
            # As the other one would: it holds half of them, and has not committed.
            await other.execute(
                "SELECT FROM delivery_groups ORDER BY due_at, id LIMIT $1 FOR UPDATE", GROUPS_PER_TRANSACTION
            )
            await connection.execute("SET lock_timeout = '2s'")
            await send_due_groups(connection, settings.webhooks)
            assert await _counts(connection) == (
                GROUPS_PER_TRANSACTION,
                GROUPS_PER_TRANSACTION,
                GROUPS_PER_TRANSACTION,
            )
            assert not await send_due_groups(connection, settings.webhooks)
        assert await send_due_groups(connection, settings.webhooks)
    finally:
        await other.close()
    assert await connection.fetchval("SELECT count(*) FROM group_events") == 0
    assert sorted(body["data"]["group"]["box"] for body in await _bodies(connection)) == sorted(
        record.payload["box"] for record in events
    )


async def test_a_failure_leaves_both_the_group_and_no_delivery(
    connection: asyncpg.Connection, settings: VigieSettings
) -> None:
    organisation = await add_organisation(connection)
    await add_endpoint(connection, organisation, URL, grouping=AT_ITS_TIME)
    await _gather(connection, settings, alert_event(organisation))
    await connection.execute("ALTER TABLE delivery_groups ADD CONSTRAINT broken CHECK (due_at IS NOT NULL)")
    with pytest.raises(asyncpg.CheckViolationError):
        await send_due_groups(connection, settings.webhooks)
    assert await _counts(connection) == (1, 1, 0)
    await connection.execute("ALTER TABLE delivery_groups DROP CONSTRAINT broken")
    await send_due_groups(connection, settings.webhooks)
    assert await connection.fetchval("SELECT count(*) FROM deliveries") == 1


async def test_a_site_that_is_none_holds_up_no_group(
    connection: asyncpg.Connection, settings: VigieSettings
) -> None:
    organisation = await add_organisation(connection)
    await add_endpoint(
        connection,
        organisation,
        None,
        kind="email",
        target={"to": ["night@example.com"], "language": "en"},
        grouping={**AT_ITS_TIME, "by": ["severity"]},
    )
    await _gather(
        connection,
        settings,
        *(
            one._replace(payload={**one.payload, "site_id": site})
            for one, site in ((alert_event(organisation), site) for site in ("the town hall", 7, None))
        ),
    )
    await send_due_groups(connection, settings.webhooks)
    # What cannot be an alert's went alone; the other two went together.
    assert await _counts(connection) == (0, 0, 2)
    rows = await connection.fetch("SELECT type FROM deliveries ORDER BY type")
    assert [row["type"] for row in rows] == ["alert.firing", "alert.group"]
