"""Grouped notifications from the outbox to a real receiver."""

import json
from datetime import datetime
from uuid import uuid4

import asyncpg
from prometheus_client import REGISTRY
from standardwebhooks import Webhook

from app.notifications.delivery.transport_types import build_message_id
from app.notifications.events.outbox import enqueue_events, wake_dispatcher
from app.platform.db.database import Database
from app.settings import VigieSettings
from tests.integration.notifications.helpers import (
    RULE,
    SITE,
    add_endpoint,
    add_organisation,
    alert_event,
    attempts,
    dispatching,
    emit,
    states,
    until,
    with_webhooks,
)
from tests.integration.notifications.receivers import receiving, status

GROUPING = {"by": ["site", "rule"], "wait": "PT15M", "interval": "PT0S"}


async def _end_waits(connection: asyncpg.Connection, gathered: int) -> None:
    """Let the groups be due in a moment, as soon as that many events wait in them."""

    async def complete() -> bool:
        return bool(await connection.fetchval("SELECT count(*) = $1 FROM group_events", gathered))

    await until(complete)
    await connection.execute("UPDATE delivery_groups SET due_at = now() + interval '1 second'")
    await wake_dispatcher(connection)


async def test_two_hundred_boxes_that_fire_within_the_wait_make_one_notification(
    database: Database, connection: asyncpg.Connection, settings: VigieSettings
) -> None:
    organisation = await add_organisation(connection)
    boxes = [f"box-{number:04}" for number in range(200)]
    counted = REGISTRY.get_sample_value("vigie_grouped_events_total") or 0
    async with receiving(status(500, 204)) as receiver:
        _, secret = await add_endpoint(connection, organisation, receiver.url, grouping=GROUPING)
        # It polls once in half a minute: that the group is due it knows.
        async with dispatching(with_webhooks(settings), database):
            for start in range(0, 200, 40):
                await emit(
                    connection, *(alert_event(organisation, box=box) for box in boxes[start : start + 40])
                )
            await _end_waits(connection, 200)
            first, again = await receiver.wait(2)

            async def delivered() -> bool:
                return await states(connection) == {"delivered": 1}

            await until(delivered)
    # One notification, tried twice.
    assert len(receiver.got) == 2
    assert again.body == first.body
    assert again.headers["webhook-id"] == first.headers["webhook-id"]
    for request in receiver.got:
        Webhook(secret).verify(request.body, request.headers)
    body = json.loads(first.body)
    assert body["type"] == "alert.group"
    data = body["data"]
    assert data["group"] == {"site_id": str(SITE), "rule_id": str(RULE)}
    assert (data["firing"], data["resolved"], data["truncated"]) == (200, 0, 0)
    assert [one["data"]["box"] for one in data["events"]] == boxes
    assert {(one["type"], one["events_count"]) for one in data["events"]} == {("alert.firing", 1)}
    row = await connection.fetchrow("SELECT event_id, type, created_at, body FROM deliveries")
    assert row is not None
    assert first.headers["webhook-id"] == build_message_id(row["event_id"])
    assert (row["type"], row["body"]) == ("alert.group", first.body)
    assert datetime.fromisoformat(body["timestamp"]) == row["created_at"]
    assert await attempts(connection) == [(1, "http_error", 500), (2, "delivered", 204)]
    assert (REGISTRY.get_sample_value("vigie_grouped_events_total") or 0) - counted == 200


async def test_a_group_is_sent_when_it_is_due_by_whoever_is_awake(
    database: Database, connection: asyncpg.Connection, settings: VigieSettings
) -> None:
    organisation = await add_organisation(connection)
    async with receiving(status(204)) as receiver:
        await add_endpoint(connection, organisation, receiver.url, grouping={**GROUPING, "by": ["box"]})
        both = with_webhooks(settings, poll_s=0.5)
        async with dispatching(both, database), dispatching(both, database):
            for round_ in range(3):
                await emit(
                    connection,
                    *(alert_event(organisation, box=f"box-{n}", sequence=round_) for n in range(60)),
                )
            await _end_waits(connection, 180)
            await receiver.wait(60)

            async def done() -> bool:
                return await states(connection) == {"delivered": 60}

            await until(done)
    assert len({request.headers["webhook-id"] for request in receiver.got}) == len(receiver.got) == 60
    data = [json.loads(request.body)["data"] for request in receiver.got]
    assert {(one["firing"], len(one["events"])) for one in data} == {(3, 3)}
    assert len({one["group"]["box"] for one in data}) == 60


async def test_a_wait_of_nothing_goes_at_once_with_what_came_together(
    database: Database, connection: asyncpg.Connection, settings: VigieSettings
) -> None:
    organisation = await add_organisation(connection)
    alert = uuid4()
    async with receiving(status(204)) as receiver:
        grouping = {**GROUPING, "wait": "PT0S"}
        await add_endpoint(connection, organisation, receiver.url, grouping=grouping)
        async with dispatching(with_webhooks(settings), database):
            await emit(
                connection,
                alert_event(organisation, alert_id=alert),
                alert_event(organisation, type_="alert.resolved", alert_id=alert, sequence=2),
            )
            (got,) = await receiver.wait(1)
            await emit(connection, alert_event(organisation))
            await receiver.wait(2)
    (listed,) = json.loads(got.body)["data"]["events"]
    assert (listed["type"], listed["events_count"]) == ("alert.resolved", 2)


async def test_what_waited_while_nobody_delivered_is_sent_once(
    database: Database, connection: asyncpg.Connection, settings: VigieSettings
) -> None:
    organisation = await add_organisation(connection)
    async with receiving(status(204)) as receiver:
        await add_endpoint(connection, organisation, receiver.url, grouping=GROUPING)
        async with dispatching(with_webhooks(settings), database):
            await emit(connection, alert_event(organisation), alert_event(organisation))

            async def gathered() -> bool:
                return bool(await connection.fetchval("SELECT count(*) = 2 FROM group_events"))

            await until(gathered)
        assert receiver.got == []
        await connection.execute("UPDATE delivery_groups SET due_at = now() - interval '1 hour'")
        async with dispatching(with_webhooks(settings), database):
            (got,) = await receiver.wait(1)
    assert json.loads(got.body)["data"]["firing"] == 2
    assert await connection.fetchval("SELECT count(*) FROM group_events") == 0


async def test_an_event_that_no_grouping_can_read_holds_up_nothing(
    database: Database, connection: asyncpg.Connection, settings: VigieSettings
) -> None:
    organisation = await add_organisation(connection)
    async with receiving(status(204)) as receiver:
        await add_endpoint(connection, organisation, receiver.url, grouping={**GROUPING, "wait": "PT0S"})
        await enqueue_events(connection, [alert_event(organisation, severity=7), alert_event(organisation)])
        async with dispatching(with_webhooks(settings), database):
            got = await receiver.wait(2)
    assert sorted(json.loads(request.body)["type"] for request in got) == ["alert.firing", "alert.group"]
