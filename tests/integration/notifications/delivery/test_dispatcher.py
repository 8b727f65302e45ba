"""The dispatcher on a real database, against real receivers."""

import asyncio
import json
import time

import asyncpg
import pytest
from aiohttp import web
from standardwebhooks import Webhook

from app.notifications.delivery import dispatcher
from app.notifications.delivery.transport_types import build_message_id
from app.notifications.events.outbox import enqueue_events, wake_dispatcher
from app.platform.db.database import Database
from app.settings import VigieSettings
from tests.integration.notifications.helpers import (
    add_endpoint,
    add_organisation,
    alert_event,
    attempts,
    dispatching,
    emit,
    event,
    states,
    until,
    with_webhooks,
)
from tests.integration.notifications.receivers import counting, receiving, status


async def _hang(_: web.Request) -> web.StreamResponse:
    await asyncio.sleep(60)
    return web.Response()


async def test_an_event_arrives_at_once_signed_and_is_recorded(
    database: Database, connection: asyncpg.Connection, settings: VigieSettings
) -> None:
    organisation = await add_organisation(connection)
    async with receiving(status(204)) as receiver:
        endpoint, secret = await add_endpoint(connection, organisation, receiver.url)
        # Nobody looks by himself before it is told.
        async with dispatching(with_webhooks(settings, poll_s=60), database):
            # First one to see that it is up, then one to be timed.
            await emit(connection, event(organisation))
            await receiver.wait(1)
            began = time.monotonic()
            record = event(organisation)
            await emit(connection, record)
            got = (await receiver.wait(2))[1]
            assert time.monotonic() - began < 10
    Webhook(secret).verify(got.body, got.headers)
    assert got.headers["webhook-id"] == build_message_id(record.id)
    body = json.loads(got.body)
    assert body["data"]["alert_id"] == str(record.payload["alert_id"])
    row = await connection.fetchrow("SELECT * FROM deliveries WHERE event_id = $1", record.id)
    assert row is not None
    assert (row["state"], row["attempt_count"], row["due_at"]) == ("delivered", 1, None)
    assert (row["leased_until"], row["endpoint_id"], row["body"]) == (None, endpoint, got.body)
    assert row["delivered_at"] >= record.created_at
    assert await attempts(connection) == [(1, "delivered", 204)] * 2


async def test_a_receiver_that_was_down_gets_the_same_message_again(
    database: Database, connection: asyncpg.Connection, settings: VigieSettings
) -> None:
    organisation = await add_organisation(connection)
    async with receiving(status(500, 503, 204)) as receiver:
        _, secret = await add_endpoint(connection, organisation, receiver.url)
        async with dispatching(with_webhooks(settings), database):
            await emit(connection, event(organisation))
            got = await receiver.wait(3)
            await until(lambda: states(connection))
    assert len({request.headers["webhook-id"] for request in got}) == 1
    assert len({request.body for request in got}) == 1
    for request in got:
        Webhook(secret).verify(request.body, request.headers)
    assert await states(connection) == {"delivered": 1}
    assert await attempts(connection) == [
        (1, "http_error", 500),
        (2, "http_error", 503),
        (3, "delivered", 204),
    ]


async def test_the_schedule_ends(
    database: Database, connection: asyncpg.Connection, settings: VigieSettings
) -> None:
    organisation = await add_organisation(connection)
    async with receiving(status(302)) as receiver:
        await add_endpoint(connection, organisation, receiver.url)
        async with dispatching(with_webhooks(settings, schedule_s=[0, 0.05]), database):
            await emit(connection, event(organisation))

            async def failed() -> bool:
                return await states(connection) == {"failed": 1}

            await until(failed)
    assert await attempts(connection) == [(1, "redirect_refused", 302), (2, "redirect_refused", 302)]
    assert await connection.fetchval("SELECT due_at FROM deliveries") is None


async def test_a_wait_is_waited_by_the_databases_clock(
    database: Database, connection: asyncpg.Connection, settings: VigieSettings
) -> None:
    organisation = await add_organisation(connection)
    async with receiving(status(500)) as receiver:
        await add_endpoint(connection, organisation, receiver.url)
        async with dispatching(with_webhooks(settings, schedule_s=[0, 300]), database):
            await emit(connection, event(organisation))

            async def tried() -> bool:
                return bool(await attempts(connection))

            await until(tried)
            row = await connection.fetchrow(
                "SELECT extract(epoch FROM due_at - now())::float8 AS wait, state, attempt_count "
                "FROM deliveries"
            )
            assert row is not None
            assert 240 < row["wait"] <= 300
            assert (row["state"], row["attempt_count"]) == ("pending", 1)
    assert len(receiver.got) == 1


async def test_a_disabled_endpoint_waits(
    database: Database, connection: asyncpg.Connection, settings: VigieSettings
) -> None:
    organisation, disabled = await add_organisation(connection), asyncio.Event()

    async def answer(_: web.Request) -> web.StreamResponse:
        if disabled.is_set():
            return web.Response(status=204)
        await disabled.wait()
        return web.Response(status=500)

    async with receiving(answer) as receiver:
        await add_endpoint(connection, organisation, receiver.url)
        async with dispatching(with_webhooks(settings, schedule_s=[0, 0.1], poll_s=0.1), database):
            await emit(connection, event(organisation))
            await receiver.wait(1)
            await connection.execute("UPDATE webhook_endpoints SET enabled = false")
            disabled.set()
            await until(lambda: attempts(connection))
            await asyncio.sleep(0.5)
            assert len(receiver.got) == 1
            assert await states(connection) == {"pending": 1}
            await connection.execute("UPDATE webhook_endpoints SET enabled = true")
            await receiver.wait(2)


async def test_an_endpoint_deleted_during_an_attempt_harms_nothing(
    database: Database, connection: asyncpg.Connection, settings: VigieSettings
) -> None:
    organisation = await add_organisation(connection)

    async def slow(_: web.Request) -> web.StreamResponse:
        await asyncio.sleep(0.3)
        return web.Response()

    async with receiving(slow) as receiver, receiving(status(204)) as other:
        endpoint, _ = await add_endpoint(connection, organisation, receiver.url)
        async with dispatching(with_webhooks(settings), database):
            await emit(connection, event(organisation))
            await receiver.wait(1)
            await connection.execute("DELETE FROM webhook_endpoints WHERE id = $1", endpoint)
            await asyncio.sleep(0.5)
            await add_endpoint(connection, organisation, other.url)
            await emit(connection, event(organisation))
            await other.wait(1)


async def test_one_that_hangs_takes_its_own_places_at_most(
    database: Database, connection: asyncpg.Connection, settings: VigieSettings
) -> None:
    organisation = await add_organisation(connection)
    async with receiving(_hang) as bad, receiving(status(204)) as good:
        await add_endpoint(connection, organisation, bad.url)
        await add_endpoint(connection, organisation, good.url)
        hanging = with_webhooks(
            settings, concurrency=8, endpoint_concurrency=2, total_timeout_s=30, lease_s=60
        )
        async with dispatching(hanging, database):
            await emit(connection, *[event(organisation) for _ in range(100)])
            await good.wait(100)
            # Neither of the two that hang has ended.
            assert len(bad.got) == 2


async def test_a_stop_lets_attempts_end(
    database: Database, connection: asyncpg.Connection, settings: VigieSettings
) -> None:
    organisation = await add_organisation(connection)

    async def slow(_: web.Request) -> web.StreamResponse:
        await asyncio.sleep(0.5)
        return web.Response()

    async with receiving(slow) as receiver:
        await add_endpoint(connection, organisation, receiver.url)
        async with dispatching(with_webhooks(settings), database) as stop:
            await emit(connection, event(organisation))
            await receiver.wait(1)
            stop.set()
    assert await states(connection) == {"delivered": 1}


async def test_a_stop_cuts_what_does_not_end_and_frees_it(
    database: Database,
    connection: asyncpg.Connection,
    settings: VigieSettings,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(dispatcher, "DRAIN_S", 0.2)
    organisation = await add_organisation(connection)
    async with receiving(_hang) as receiver:
        await add_endpoint(connection, organisation, receiver.url)
        patient = with_webhooks(settings, total_timeout_s=20, lease_s=60)
        async with dispatching(patient, database) as stop:
            await emit(connection, event(organisation))
            await receiver.wait(1)
            began = time.monotonic()
            stop.set()
        assert time.monotonic() - began < 10
    row = await connection.fetchrow("SELECT state, leased_until, attempt_count FROM deliveries")
    assert row is not None
    assert tuple(row) == ("pending", None, 0)
    assert await attempts(connection) == []


async def test_two_dispatchers_share_the_work(
    database: Database, connection: asyncpg.Connection, settings: VigieSettings
) -> None:
    organisation = await add_organisation(connection)
    async with receiving(status(204)) as receiver:
        await add_endpoint(connection, organisation, receiver.url)
        both = with_webhooks(settings)
        async with dispatching(both, database), dispatching(both, database):
            await emit(connection, *[event(organisation) for _ in range(300)])
            await receiver.wait(300)

            async def done() -> bool:
                return await states(connection) == {"delivered": 300}

            await until(done)
    assert len({request.headers["webhook-id"] for request in receiver.got}) == len(receiver.got) == 300


async def test_lost_connections_are_made_again(
    database: Database, connection: asyncpg.Connection, settings: VigieSettings
) -> None:
    organisation = await add_organisation(connection)
    async with receiving(status(204)) as receiver:
        await add_endpoint(connection, organisation, receiver.url)
        async with dispatching(with_webhooks(settings), database):
            for count in range(1, 4):
                await emit(connection, event(organisation))
                await receiver.wait(count)
                await connection.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                    "WHERE datname = current_database() AND pid <> pg_backend_pid() "
                    "AND application_name = 'tests'"
                )

            async def done() -> bool:
                return await states(connection) == {"delivered": 3}

            await until(done)


async def test_what_was_written_while_nobody_listened_is_found(
    database: Database, connection: asyncpg.Connection, settings: VigieSettings
) -> None:
    organisation = await add_organisation(connection)
    async with receiving(status(204)) as receiver:
        await add_endpoint(connection, organisation, receiver.url)
        await enqueue_events(connection, [event(organisation) for _ in range(5)])
        async with dispatching(with_webhooks(settings), database):
            await receiver.wait(5)
            # Without a wake-up: the poll.
        async with dispatching(with_webhooks(settings, poll_s=0.1), database):
            await asyncio.sleep(0.3)
            await enqueue_events(connection, [event(organisation)])
            await receiver.wait(6)


async def test_a_rate_is_kept_by_two_dispatchers_together(
    database: Database, connection: asyncpg.Connection, settings: VigieSettings
) -> None:
    organisation = await add_organisation(connection)
    async with receiving(status(204)) as receiver:
        await add_endpoint(connection, organisation, receiver.url)
        await connection.execute("UPDATE webhook_endpoints SET rate_per_s = 10")
        both = with_webhooks(settings)
        async with dispatching(both, database), dispatching(both, database):
            began = time.monotonic()
            await emit(connection, *[event(organisation) for _ in range(25)])
            await receiver.wait(25)
            took = time.monotonic() - began
    # One at once, and the others at ten a second. It polls every half minute: before that it knew when.
    assert 2.3 < took < 20
    assert len(receiver.got) == 25


async def test_an_endpoints_own_limit_is_kept(
    database: Database, connection: asyncpg.Connection, settings: VigieSettings
) -> None:
    organisation, now, most = await add_organisation(connection), 0, 0

    async def busy(_: web.Request) -> web.StreamResponse:
        nonlocal now, most
        now += 1
        most = max(most, now)
        await asyncio.sleep(0.02)
        now -= 1
        return web.Response(status=204)

    async with receiving(busy) as receiver:
        await add_endpoint(connection, organisation, receiver.url)
        await connection.execute("UPDATE webhook_endpoints SET concurrency = 2")
        async with dispatching(with_webhooks(settings), database):
            await emit(connection, *[event(organisation) for _ in range(30)])
            await receiver.wait(30)
    assert most == 2


async def test_a_receiver_that_is_down_is_tried_ever_less_often_and_recovers(
    database: Database, connection: asyncpg.Connection, settings: VigieSettings
) -> None:
    organisation, well = await add_organisation(connection), asyncio.Event()

    async def answer(_: web.Request) -> web.StreamResponse:
        return web.Response(status=204 if well.is_set() else 500)

    async with receiving(answer) as receiver:
        await add_endpoint(connection, organisation, receiver.url)
        chosen = with_webhooks(settings, breaker_failures=2, breaker_max_s=0.5, schedule_s=[0, *[0.01] * 500])
        async with dispatching(chosen, database):
            await emit(connection, *[event(organisation) for _ in range(20)])
            await receiver.wait(20)
            before, began = len(receiver.got), time.monotonic()
            await asyncio.sleep(1.5)
            # By its schedule alone each of the twenty would have been tried a hundred times by now.
            assert len(receiver.got) - before <= 2 + (time.monotonic() - began) / 0.5
            well.set()

            async def delivered() -> bool:
                return await states(connection) == {"delivered": 20}

            await until(delivered)
    state = await connection.fetchrow("SELECT consecutive_failures, open_until FROM endpoint_states")
    assert tuple(state or ()) == (0, None)


async def test_one_that_is_gone_is_left_alone_until_it_is_enabled(
    database: Database, connection: asyncpg.Connection, settings: VigieSettings
) -> None:
    organisation = await add_organisation(connection)
    async with receiving(status(410, 204)) as receiver, receiving(status(204)) as other:
        gone, _ = await add_endpoint(connection, organisation, receiver.url, events=["alert.firing"])
        await add_endpoint(connection, organisation, other.url, events=["endpoint.disabled"])
        await connection.execute("UPDATE webhook_endpoints SET concurrency = 1")
        async with dispatching(with_webhooks(settings), database):
            await emit(connection, *[event(organisation) for _ in range(3)])
            (notice,) = await other.wait(1)
            assert len(receiver.got) == 1
            data = json.loads(notice.body)["data"]
            assert (data["endpoint_id"], data["reason"], data["last_status"]) == (str(gone), "gone", 410)
            assert data["pending"] == 2
            await connection.execute("UPDATE webhook_endpoints SET enabled = true")
            await wake_dispatcher(connection)
            await receiver.wait(3)

            async def settled() -> bool:
                return await states(connection) == {"failed": 1, "delivered": 3}

            await until(settled)


async def test_one_that_asks_to_wait_is_left_alone(
    database: Database, connection: asyncpg.Connection, settings: VigieSettings
) -> None:
    organisation = await add_organisation(connection)

    async def answer(_: web.Request) -> web.StreamResponse:
        if len(receiver.got) == 1:
            return web.Response(status=503, headers={"Retry-After": "1"})
        return web.Response(status=204)

    async with receiving(answer) as receiver:
        await add_endpoint(connection, organisation, receiver.url)
        async with dispatching(with_webhooks(settings), database):
            await emit(connection, event(organisation))
            await receiver.wait(1)
            began = time.monotonic()
            # What comes meanwhile waits too.
            await emit(connection, event(organisation))
            await receiver.wait(3)
            assert time.monotonic() - began > 0.8


async def test_what_waits_for_one_that_hangs_is_left_to_others(
    database: Database, connection: asyncpg.Connection, settings: VigieSettings
) -> None:
    """It answers soon at first, so that more is leased than it has places; then it hangs."""
    organisation = await add_organisation(connection)

    async def answer(_: web.Request) -> web.StreamResponse:
        if len(receiver.got) > 20:
            await asyncio.sleep(60)
        return web.Response(status=204)

    async with receiving(answer) as receiver:
        await add_endpoint(connection, organisation, receiver.url)
        patient = with_webhooks(settings, endpoint_concurrency=2, total_timeout_s=65, lease_s=90)
        async with dispatching(patient, database) as stop:
            await emit(connection, *[event(organisation) for _ in range(200)])
            await receiver.wait(22)

            async def given_back() -> bool:
                count = "SELECT count(*) FROM deliveries WHERE leased_until IS NOT NULL"
                return bool(await connection.fetchval(count) == 2)

            await until(given_back)
            assert len(receiver.got) == 22
            stop.set()


@pytest.mark.parametrize(("kind", "target"), [("email", {"to": ["a@example.com"], "language": "en"})])
async def test_a_channel_that_this_installation_lacks_is_named(
    database: Database,
    connection: asyncpg.Connection,
    settings: VigieSettings,
    kind: str,
    target: dict[str, object],
) -> None:
    organisation = await add_organisation(connection)
    await add_endpoint(connection, organisation, None, kind=kind, target=target)
    async with dispatching(with_webhooks(settings, schedule_s=[0]), database):
        await emit(connection, alert_event(organisation))

        async def given_up() -> bool:
            return await states(connection) == {"failed": 1}

        await until(given_up)
    assert await attempts(connection) == [(1, "not_configured", None)]
    # No fault of its own.
    assert await connection.fetchval("SELECT failing_since FROM endpoint_states") is None


async def test_memory_does_not_grow_with_what_waits(
    database: Database, connection: asyncpg.Connection, settings: VigieSettings
) -> None:
    organisation = await add_organisation(connection)
    async with receiving(_hang) as bad:
        for _ in range(5):
            await add_endpoint(connection, organisation, bad.url)
        chosen = with_webhooks(
            settings, concurrency=16, endpoint_concurrency=4, total_timeout_s=2, lease_s=30
        )
        async with dispatching(chosen, database):
            await emit(connection, *[event(organisation) for _ in range(500)])
            come = len(await bad.wait(10))
            leased = "SELECT count(*) FROM deliveries WHERE leased_until > now()"
            assert await connection.fetchval(leased) <= 4 * 16
            assert come <= 16


async def test_each_attempt_is_recorded_once_though_connections_break_all_the_time(
    database: Database, connection: asyncpg.Connection, settings: VigieSettings
) -> None:
    organisation = await add_organisation(connection)
    async with counting(delay_s=0.002) as (url, got):
        await add_endpoint(connection, organisation, url)
        async with dispatching(with_webhooks(settings), database):
            await emit(connection, *[event(organisation) for _ in range(400)])
            pause = 0.1

            async def delivered() -> bool:
                nonlocal pause
                await connection.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                    "WHERE datname = current_database() AND pid <> pg_backend_pid() "
                    "AND application_name = 'tests'"
                )
                # Long enough for some of what is under way to be committed, or to have been cut at that. A
                # machine may be too slow for either: it is given more each time.
                await asyncio.sleep(pause)
                pause *= 1.1
                return await states(connection) == {"delivered": 400}

            await until(delivered, 60)
            recorded = "SELECT count(*) FROM delivery_attempts"
            assert await connection.fetchval(recorded) == got.total()
    # A claim that was cut at its commit leaves leases that nobody has: none was posted under them.
    assert len(got) == got.total() == 400
