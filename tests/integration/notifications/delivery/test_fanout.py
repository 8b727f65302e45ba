import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest
from cloudevents.core.bindings.http import HTTPMessage, from_http_event
from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from app.notifications.delivery import fanout
from app.notifications.delivery.fanout import AdaptiveFanOut, FanOutResult, fan_out_events
from app.notifications.delivery.transport_types import build_message_id
from app.notifications.events.event_types import ENDPOINT_DISABLED
from app.notifications.events.outbox import STREAM_CHANNEL, OutboxRecord, enqueue_events
from app.platform.db.advisory_lock_keys import STREAM_POSITIONS
from app.platform.db.database import Database
from app.platform.kernel.ids import new_id
from app.settings import VigieSettings
from tests.integration.alerts.helpers import make_street
from tests.integration.notifications.helpers import (
    add_endpoint,
    add_organisation,
    alert_event,
    event,
    until,
)
from tests.integration.notifications.log import add_channel

URL = "https://example.com/"
MAILBOX = {"to": ["night@example.com"], "language": "en"}
# A commit that takes its time: what got its place before it is seen after it.
SLOW_COMMITS = """
CREATE FUNCTION linger() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN PERFORM pg_sleep(0.02 * random()); RETURN NULL; END $$;
CREATE CONSTRAINT TRIGGER linger AFTER UPDATE ON outbox DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW WHEN (NEW.stream_position % 3 = 0) EXECUTE FUNCTION linger()
"""


async def test_each_endpoint_gets_what_it_wants_once(
    connection: asyncpg.Connection, settings: VigieSettings
) -> None:
    ours, theirs, site = await add_organisation(connection), await add_organisation(connection), uuid4()
    everything, _ = await add_endpoint(connection, ours, URL)
    firing, _ = await add_endpoint(connection, ours, URL, events=["alert.firing"])
    here, _ = await add_endpoint(connection, ours, URL, site_ids=[site])
    await add_endpoint(connection, ours, URL, enabled=False)
    foreign, _ = await add_endpoint(connection, theirs, URL)
    first = event(ours, site_id=site)
    second = event(ours, type_="alert.resolved", site_id=uuid4())
    third = event(theirs)
    await enqueue_events(connection, [first, second, third])

    assert (await fan_out_events(connection, settings.webhooks)).taken == 3
    assert (await fan_out_events(connection, settings.webhooks)).taken == 0

    rows = await connection.fetch("SELECT * FROM deliveries")
    assert {(row["endpoint_id"], row["event_id"]) for row in rows} == {
        (everything, first.id),
        (firing, first.id),
        (here, first.id),
        (everything, second.id),
        (foreign, third.id),
    }
    assert {row["state"] for row in rows} == {"pending"}
    assert await connection.fetchval("SELECT bool_and(due_at <= now()) FROM deliveries")
    for row in rows:
        body = json.loads(row["body"])
        assert body.keys() == {"type", "timestamp", "data"}
        assert body["type"] == row["type"]
        assert body["data"]["value"] == 31.2
        assert row["created_at"] in {first.created_at, second.created_at, third.created_at}


async def test_an_event_that_comes_again_makes_no_second_delivery(
    connection: asyncpg.Connection, settings: VigieSettings
) -> None:
    ours = await add_organisation(connection)
    await add_endpoint(connection, ours, URL)
    await enqueue_events(connection, [event(ours)])
    await fan_out_events(connection, settings.webhooks)
    await connection.execute("UPDATE outbox SET fanned_out_at = NULL")
    assert (await fan_out_events(connection, settings.webhooks)).taken == 1
    assert await connection.fetchval("SELECT count(*) FROM deliveries") == 1


async def test_many_are_taken_in_batches(connection: asyncpg.Connection, settings: VigieSettings) -> None:
    ours = await add_organisation(connection)
    await add_endpoint(connection, ours, URL)
    await enqueue_events(connection, [event(ours) for _ in range(fanout.BATCH + 7)])
    assert (await fan_out_events(connection, settings.webhooks)).taken == fanout.BATCH
    assert (await fan_out_events(connection, settings.webhooks)).taken == 7
    assert await connection.fetchval("SELECT count(*) FROM deliveries") == fanout.BATCH + 7


async def _delivery(connection: asyncpg.Connection, endpoint: UUID) -> Any:  # noqa: ANN401 (a row)
    return await connection.fetchrow("SELECT * FROM deliveries WHERE endpoint_id = $1", endpoint)


async def test_each_kind_gets_its_own_form(
    database: Database, connection: asyncpg.Connection, settings: VigieSettings
) -> None:
    street = await make_street(database, connection)
    ours, site = street.organisation_id, street.site_id
    plain, _ = await add_endpoint(connection, ours, URL)
    clouds, _ = await add_endpoint(connection, ours, URL, format_="cloudevents")
    manager, _ = await add_endpoint(connection, ours, URL, format_="alertmanager")
    broker, _ = await add_endpoint(connection, ours, None, kind="mqtt", target={})
    mail, _ = await add_endpoint(connection, ours, None, kind="email", target=MAILBOX)
    french, _ = await add_endpoint(connection, ours, None, kind="email", target={**MAILBOX, "language": "fr"})
    await connection.execute("UPDATE sites SET name = 'Quai Lucien-Lombard' WHERE id = $1", site)
    await street.batch(street.story().fires(1))
    assert (await fan_out_events(connection, settings.webhooks, "https://vigie.example.com")).taken == 1

    rows = {row["endpoint_id"]: row for row in await connection.fetch("SELECT * FROM deliveries")}
    assert {endpoint: row["format"] for endpoint, row in rows.items()} == {
        plain: "native",
        clouds: "cloudevents",
        manager: "alertmanager",
        broker: "native",
        mail: "native",
        french: "native",
    }
    assert {(row["site_id"], row["type"], row["event_id"]) for row in rows.values()} == {
        (site, "alert.firing", rows[plain]["event_id"])
    }
    native = json.loads(rows[plain]["body"])
    identifier = build_message_id(rows[plain]["event_id"])
    assert json.loads(rows[broker]["body"]) == {"id": identifier, **native}
    cloud = from_http_event(
        HTTPMessage({"content-type": "application/cloudevents+json"}, rows[clouds]["body"])
    )
    assert (cloud.get_id(), cloud.get_subject()) == (identifier, native["data"]["alert_id"])
    assert cloud.get_source() == f"/organisations/{ours}/sites/{site}"
    assert cloud.get_data() == native["data"]
    (alert,) = json.loads(rows[manager]["body"])["alerts"]
    assert alert["labels"]["box"] == native["data"]["box"]
    assert alert["generatorURL"] == f"https://vigie.example.com/console/alerts/{native['data']['alert_id']}"
    english, translated = json.loads(rows[mail]["body"]), json.loads(rows[french]["body"])
    assert "Quai Lucien-Lombard" in english["text"]
    assert english["subject"] != translated["subject"]


async def test_names_of_sites_are_asked_for_once_and_for_mails_alone(
    database: Database, connection: asyncpg.Connection, settings: VigieSettings
) -> None:
    street = await make_street(database, connection)
    grouping = {"by": ["site"], "wait": "PT15M", "interval": "PT0S"}
    await add_endpoint(connection, street.organisation_id, URL, format_="alertmanager")
    mail: dict[str, Any] = {"kind": "email", "target": MAILBOX}
    await add_endpoint(connection, street.organisation_id, None, grouping=grouping, **mail)
    asked: list[str] = []

    async def queries() -> list[str]:
        await street.batch(street.story(street.first, await street.add_rule()).fires(1))
        await street.batch(street.story(street.second, await street.add_rule()).fires(1))
        asked.clear()
        with connection.query_logger(lambda record: asked.append(record.query)):
            assert (await fan_out_events(connection, settings.webhooks)).taken == 2
        return [query for query in asked if "FROM sites" in query]

    assert await queries() == []
    assert asked
    await add_endpoint(connection, street.organisation_id, None, **mail)
    assert len(await queries()) == 1


async def test_a_critical_endpoint_hears_of_an_alert_from_its_escalation_on(
    database: Database, connection: asyncpg.Connection, settings: VigieSettings
) -> None:
    street = await make_street(database, connection)
    grave, _ = await add_endpoint(
        connection,
        street.organisation_id,
        URL,
        events=["alert.firing", "alert.resolved"],
        min_severity="critical",
    )
    mild, rising = street.story(), street.story(street.second)
    await street.batch(mild.fires(1), rising.fires(1))
    await street.batch(rising.rises(2, "critical"))
    await street.batch(rising.falls(3, "warning"))
    await street.batch(mild.ends(4), rising.ends(4))
    await fan_out_events(connection, settings.webhooks)
    rows = await connection.fetch("SELECT * FROM deliveries ORDER BY created_at, id")
    assert {row["endpoint_id"] for row in rows} == {grave}
    assert [row["type"] for row in rows] == ["alert.escalated", "alert.resolved"]
    assert {json.loads(row["body"])["data"]["alert_id"] for row in rows} == {str(rising.alert_id)}


async def test_ordered_deliveries_have_the_position_of_their_event(
    database: Database, connection: asyncpg.Connection, settings: VigieSettings
) -> None:
    street = await make_street(database, connection)
    channel = await add_channel(connection, street.organisation_id, kind="pagerduty")
    story = street.story()
    await street.batch(story.fires(1))
    await street.batch(story.ends(2))
    await fan_out_events(connection, settings.webhooks)
    rows = await connection.fetch(
        "SELECT sent.type, sent.alert_id, sent.position = event.position AS right FROM deliveries AS sent "
        "JOIN outbox AS event ON event.id = sent.event_id WHERE endpoint_id = $1 ORDER BY sent.position",
        channel,
    )
    assert [tuple(row) for row in rows] == [
        ("alert.firing", story.alert_id, True),
        ("alert.resolved", story.alert_id, True),
    ]


async def test_an_alert_that_falls_and_rises_begins_once_for_an_endpoint(
    database: Database, connection: asyncpg.Connection, settings: VigieSettings
) -> None:
    street = await make_street(database, connection)
    organisation, least = street.organisation_id, "critical"
    await add_endpoint(connection, organisation, URL, events=["alert.firing"], min_severity=least)
    story = street.story()
    await street.batch(story.fires(1))
    for minute in (2, 4, 6):
        await street.batch(story.rises(minute, "critical"))
        await street.batch(story.falls(minute + 1, "warning"))
    await fan_out_events(connection, settings.webhooks)
    rows = await connection.fetch("SELECT body FROM deliveries")
    data = [json.loads(row["body"])["data"] for row in rows]
    assert [(each["sequence"], each["previous_highest_severity"]) for each in data] == [(2, "warning")]


async def test_a_notice_reaches_mails_and_subscribers_but_not_whom_it_is_about(
    connection: asyncpg.Connection, settings: VigieSettings
) -> None:
    ours, theirs = await add_organisation(connection), await add_organisation(connection)
    grouping = {"by": ["site"], "wait": "PT15M", "interval": "PT0S"}
    gone, _ = await add_endpoint(connection, ours, URL)
    wants, _ = await add_endpoint(connection, ours, URL, grouping=grouping)
    await add_endpoint(connection, ours, URL, events=["alert.firing"])
    mail, _ = await add_endpoint(
        connection, ours, None, kind="email", target=MAILBOX, events=["alert.firing"], grouping=grouping
    )
    await add_endpoint(
        *(connection, ours, None), kind="email", target={**MAILBOX, "notices": False}, events=["alert.firing"]
    )
    await add_endpoint(connection, ours, None, kind="email", target=MAILBOX, enabled=False)
    await add_endpoint(connection, theirs, None, kind="email", target=MAILBOX)
    data = {
        "endpoint_id": gone,
        "organisation_id": ours,
        "kind": "webhook",
        "target": URL,
        "description": None,
        "reason": "gone",
        "failing_since": None,
        "last_reason": "gone",
        "last_status": 410,
        "pending": 3,
    }
    await enqueue_events(
        connection, [OutboxRecord(new_id(), ours, None, ENDPOINT_DISABLED, data, datetime.now(UTC))]
    )
    await fan_out_events(connection, settings.webhooks)
    rows = await connection.fetch("SELECT endpoint_id, type FROM deliveries")
    assert {(row["endpoint_id"], row["type"]) for row in rows} == {
        (wants, ENDPOINT_DISABLED),
        (mail, ENDPOINT_DISABLED),
    }


async def _places(connection: asyncpg.Connection) -> list[int | None]:
    rows = await connection.fetch("SELECT stream_position FROM outbox ORDER BY position")
    return [row["stream_position"] for row in rows]


async def test_events_get_their_places_in_order_also_those_that_nobody_wants(
    connection: asyncpg.Connection, settings: VigieSettings
) -> None:
    ours, alone = await add_organisation(connection), await add_organisation(connection)
    await add_endpoint(connection, ours, URL, events=["alert.firing"])
    await enqueue_events(connection, [event(owner) for owner in (ours, alone, ours)])
    assert await _places(connection) == [None, None, None]
    await fan_out_events(connection, settings.webhooks)
    first = await _places(connection)
    await enqueue_events(connection, [event(alone)])
    await fan_out_events(connection, settings.webhooks)
    places = await _places(connection)
    assert None not in places
    assert places[:3] == first
    assert places == sorted(set(places), key=lambda place: place or 0)
    assert len(places) == 4


async def test_streams_are_woken_once_the_places_are_there_and_only_then(
    database: Database, connection: asyncpg.Connection, settings: VigieSettings
) -> None:
    heard: list[object] = []
    listening = await database.connect()
    await listening.add_listener(STREAM_CHANNEL, lambda *_: heard.append(1))
    try:
        ours = await add_organisation(connection)
        await fan_out_events(connection, settings.webhooks)
        await enqueue_events(connection, [event(ours), event(ours)])
        await fan_out_events(connection, settings.webhooks)

        async def woken() -> int:
            await listening.execute("SELECT 1")
            return len(heard)

        await until(woken)
        await fan_out_events(connection, settings.webhooks)
        assert await woken() == 1
    finally:
        await listening.close()


async def test_one_fan_out_at_a_time(
    database: Database, connection: asyncpg.Connection, settings: VigieSettings
) -> None:
    ours = await add_organisation(connection)
    await add_endpoint(connection, ours, URL)
    first, second = event(ours), event(ours, type_="alert.resolved")
    await enqueue_events(connection, [first])
    await enqueue_events(connection, [second])
    other = await database.connect()
    try:
        async with other.transaction():
            # Another dispatcher has taken the first, and is at it.
            await other.execute("SELECT pg_advisory_xact_lock($1)", STREAM_POSITIONS)
            await other.execute("SELECT FROM outbox WHERE id = $1 FOR UPDATE", first.id)
            assert await fan_out_events(connection, settings.webhooks) == FanOutResult(0, blocked=True)
        assert await fan_out_events(connection, settings.webhooks) == FanOutResult(2)
    finally:
        await other.close()
    rows = await connection.fetch("SELECT type FROM outbox ORDER BY stream_position")
    assert [row["type"] for row in rows] == ["alert.firing", "alert.resolved"]


async def test_a_fan_out_that_stands_still_lets_the_others_go_on(
    database: Database,
    connection: asyncpg.Connection,
    settings: VigieSettings,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ours = await add_organisation(connection)
    await enqueue_events(connection, [event(ours)])
    former = await connection.fetchval("SHOW idle_in_transaction_session_timeout")

    @asynccontextmanager
    async def standing_still(patience: str) -> AsyncIterator[None]:
        stands = asyncio.Event()

        async def stand_still(*_: object) -> None:
            stands.set()
            await asyncio.sleep(120)

        hung = await database.connect()
        with monkeypatch.context() as patch:
            patch.setattr(fanout, "_ALONE", fanout._ALONE.replace("10s", patience))
            patch.setattr(fanout, "_lock_events", stand_still)
            hanging = asyncio.create_task(fan_out_events(hung, settings.webhooks))
            async with asyncio.timeout(60):
                await stands.wait()
        yield
        hanging.cancel()
        await asyncio.wait({hanging})
        hung.terminate()

    async with standing_still("10min"):
        assert await fan_out_events(connection, settings.webhooks) == FanOutResult(0, blocked=True)

    async def goes_on() -> bool:
        return bool(await fan_out_events(connection, settings.webhooks))

    async with standing_still("200ms"):
        await until(goes_on)
    # The connection of the one that is done has its former patience again.
    assert await connection.fetchval("SHOW idle_in_transaction_session_timeout") == former


async def _add_many(connection: asyncpg.Connection, organisation: UUID, count: int, **columns: str) -> None:
    names = "".join(f", {name}" for name in columns)
    values = "".join(f", {value}" for value in columns.values())
    await connection.execute(
        "INSERT INTO webhook_endpoints (id, organisation_id, url, events, secret, enabled, created_at,"  # noqa: S608
        f" updated_at{names}) SELECT gen_random_uuid(), $1, 'https://example.com/', '{{*}}', 'whsec_', true,"
        f" now(), now(){values} FROM generate_series(1, $2)",
        *(organisation, count),
    )


async def test_many_endpoints_of_one_do_not_stop_the_others(
    connection: asyncpg.Connection, settings: VigieSettings
) -> None:
    wide, other = await add_organisation(connection), await add_organisation(connection)
    await _add_many(connection, wide, 700)
    await add_endpoint(connection, other, URL)
    await enqueue_events(
        connection, [alert_event(wide, padding="x" * 600) for _ in range(7)] + [event(other)]
    )
    made = []
    for taken, more in ((2, True), (2, True), (2, True), (2, False)):
        assert await fan_out_events(connection, settings.webhooks) == FanOutResult(taken, more=more)
        made.append(await connection.fetchval("SELECT count(*) FROM deliveries"))
    assert made == [1400, 2800, 4200, 4901]
    assert await connection.fetchval("SELECT count(DISTINCT (endpoint_id, event_id)) FROM deliveries") == 4901
    wrong = (
        "SELECT count(*) FROM deliveries JOIN outbox ON outbox.id = event_id "
        "WHERE (convert_from(body, 'UTF8')::jsonb -> 'data') - 'link' <> payload"
    )
    assert await connection.fetchval(wrong) == 0


@pytest.mark.parametrize("grouping", ["NULL", """'{"by": ["box"], "wait": "PT10S", "interval": "PT0S"}'"""])
async def test_one_event_for_very_many_endpoints_is_written_in_slices(
    connection: asyncpg.Connection, settings: VigieSettings, grouping: str
) -> None:
    wide = await add_organisation(connection)
    await _add_many(connection, wide, 2500, grouping=grouping)
    # As many copies as there are endpoints would be more than one statement can hold.
    await enqueue_events(connection, [alert_event(wide, padding="x" * 500_000), alert_event(wide)])
    assert await fan_out_events(connection, settings.webhooks) == FanOutResult(1, more=True)
    table = "deliveries" if grouping == "NULL" else "group_events"
    # To read them all would be to unpack a gigabyte: of most, how they are packed and how they begin.
    looks = "octet_length(body), pg_column_size(body), md5(substr(body, 1, 8192))"
    rows = await connection.fetch(
        f"SELECT count(*) AS count, count(DISTINCT ({looks})) AS looks FROM {table}"  # noqa: S608 (ours)
    )
    assert [tuple(row) for row in rows] == [(2500, 1)]
    some = f"SELECT count(DISTINCT body) FROM (SELECT body FROM {table} ORDER BY random() LIMIT 50) few"  # noqa: S608 (ours)
    assert await connection.fetchval(some) == 1
    assert await fan_out_events(connection, settings.webhooks) == FanOutResult(1)


async def test_what_weighs_much_is_taken_by_and_by(
    connection: asyncpg.Connection, settings: VigieSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fanout, "MOST_BYTES", 10_000)
    ours = await add_organisation(connection)
    await _add_many(connection, ours, 2)
    await enqueue_events(connection, [alert_event(ours, padding="x" * 2000) for _ in range(5)])
    assert [(await fan_out_events(connection, settings.webhooks)).taken for _ in range(4)] == [2, 2, 1, 0]


async def test_who_is_locked_out_waits_and_holds_up_nobody(
    database: Database, connection: asyncpg.Connection, settings: VigieSettings
) -> None:
    a, b = await add_organisation(connection), await add_organisation(connection)
    held, _ = await add_endpoint(connection, a, URL)
    await add_endpoint(connection, a, URL)
    free, _ = await add_endpoint(connection, b, URL)
    ours = [event(a) for _ in range(4)]
    await enqueue_events(connection, [*ours, event(b), event(b)])
    other = await database.connect()
    try:
        async with other.transaction():
            await other.execute("SELECT FROM webhook_endpoints WHERE id = $1 FOR UPDATE", held)
            # More of them than a batch holds are first.
            assert await fan_out_events(connection, settings.webhooks, most=3) == FanOutResult(
                2, blocked=True
            )
            assert await fan_out_events(connection, settings.webhooks, most=3) == FanOutResult(
                0, blocked=True
            )
        rows = await connection.fetch("SELECT endpoint_id FROM deliveries")
        assert [row["endpoint_id"] for row in rows] == [free, free]
        assert await fan_out_events(connection, settings.webhooks, most=3) == FanOutResult(3, more=True)
        assert await fan_out_events(connection, settings.webhooks, most=3) == FanOutResult(1)
    finally:
        await other.close()
    rows = await connection.fetch("SELECT event_id FROM deliveries WHERE endpoint_id = $1 ORDER BY id", held)
    assert {row["event_id"] for row in rows} == {one.id for one in ours}
    rows = await connection.fetch(
        "SELECT id FROM outbox WHERE organisation_id = $1 ORDER BY stream_position", a
    )
    assert [row["id"] for row in rows] == [one.id for one in ours]


GROUPED = {"by": ["site"], "wait": "PT10S", "interval": "PT0S"}


@pytest.mark.parametrize("place", [0, 3, 9])
async def test_an_event_that_cannot_be_fanned_out_is_set_aside_alone(
    connection: asyncpg.Connection, settings: VigieSettings, place: int
) -> None:
    ours = await add_organisation(connection)
    await add_endpoint(connection, ours, URL, grouping=GROUPED)
    plain, _ = await add_endpoint(connection, ours, URL)
    events = [alert_event(ours) for _ in range(10)]
    # No bigint holds it.
    events[place] = events[place]._replace(payload={**events[place].payload, "sequence": 2**64})
    await enqueue_events(connection, events)
    counted = REGISTRY.get_sample_value("vigie_events_unfit_total") or 0.0
    fan = AdaptiveFanOut(settings.webhooks)
    with capture_logs() as logs:
        async with asyncio.timeout(60):
            while await connection.fetchval("SELECT count(*) FROM outbox WHERE fanned_out_at IS NULL"):
                done = await fan.step(connection)
                assert done.taken or done.more
    assert [line["event_id"] for line in logs if line["event"] == "event_cannot_be_fanned_out"] == [
        str(events[place].id)
    ]
    assert REGISTRY.get_sample_value("vigie_events_unfit_total") == counted + 1
    rows = await connection.fetch("SELECT event_id FROM deliveries WHERE endpoint_id = $1", plain)
    others = [one.id for one in events if one is not events[place]]
    assert sorted(row["event_id"] for row in rows) == sorted(others)
    assert await connection.fetchval("SELECT count(*) FROM group_events") == 9
    assert await _places(connection) == sorted(filter(None, await _places(connection)))
    # Back to whole batches.
    await enqueue_events(connection, [event(ours), event(ours)])
    assert await fan.step(connection) == FanOutResult(2)


async def test_nothing_is_set_aside_where_the_database_is_at_fault(
    connection: asyncpg.Connection, settings: VigieSettings
) -> None:
    ours = await add_organisation(connection)
    await add_endpoint(connection, ours, URL)
    await enqueue_events(connection, [event(ours)])
    fan = AdaptiveFanOut(settings.webhooks)
    await connection.execute("ALTER TABLE deliveries RENAME TO elsewhere")
    for _ in range(12):
        with pytest.raises(asyncpg.UndefinedTableError):
            await fan.step(connection)
    await connection.execute("ALTER TABLE elsewhere RENAME TO deliveries")
    assert await fan.step(connection) == FanOutResult(1, more=True)
    assert await connection.fetchval("SELECT count(*) FROM deliveries") == 1


async def test_who_reads_the_stream_by_its_places_misses_nothing_of_several_fan_outs(
    database: Database, connection: asyncpg.Connection, settings: VigieSettings
) -> None:
    ours = await add_organisation(connection)
    await add_endpoint(connection, ours, URL)
    await connection.execute(SLOW_COMMITS)
    total = 300
    await enqueue_events(connection, [alert_event(ours) for _ in range(total)])

    async def work() -> None:
        mine = await database.connect()
        try:

            async def over() -> bool:
                done = await fan_out_events(mine, settings.webhooks, most=5)
                # Whoever did not get its turn looks again soon.
                return not done and not done.blocked

            await until(over, 60)
        finally:
            await mine.close()

    working = asyncio.gather(work(), work(), work())
    seen: list[int] = []
    async with asyncio.timeout(60):
        while len(seen) < total:
            done = working.done()
            rows = await connection.fetch(
                "SELECT stream_position FROM outbox WHERE stream_position > $1 ORDER BY stream_position",
                seen[-1] if seen else 0,
            )
            seen += [row["stream_position"] for row in rows]
            if done and not rows:
                break
        await working
    assert seen == sorted(place for place in await _places(connection) if place is not None)
    assert len(seen) == total
