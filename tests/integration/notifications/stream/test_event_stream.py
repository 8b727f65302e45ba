"""The event stream over real connections: what it says, where it begins, who may listen."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import httpx
import pytest
from fastapi import FastAPI
from httpx_sse import aconnect_sse

from app.notifications.events.outbox import OutboxRecord
from app.notifications.prometheus_metrics import STREAM_EVENTS
from app.notifications.stream import stream_queries as reads
from app.notifications.stream.event_stream import StreamCursor
from app.notifications.stream.stream_wakeup_hub import StreamHub
from app.platform.config.api_settings import ApiSettings
from app.platform.http.streaming import slot_stream
from app.platform.kernel.application_resources import get_resource
from app.platform.kernel.ids import new_id
from app.standalone.private_postgres import PrivatePostgres
from tests.conftest import Tenant, client_of
from tests.integration.notifications.helpers import alert_event, event, until
from tests.integration.notifications.streams import PATH, listening, serving, tell
from tests.integration.people.folk import OrganisationPeople


@pytest.fixture
async def url(application: FastAPI) -> AsyncIterator[str]:
    async with serving(application) as served:
        yield served


def change(application: FastAPI, **settings: Any) -> None:  # noqa: ANN401 (whatever a setting holds)
    hub = get_resource(application, StreamHub)
    hub.settings = ApiSettings.model_validate({**hub.settings.model_dump(), **settings})


async def test_events_come_in_order_with_a_webhooks_body(
    url: str, tenant: Tenant, other_tenant: Tenant, connection: asyncpg.Connection
) -> None:
    organisation = UUID(tenant.id)
    await tell(connection, event(organisation))
    async with listening(url, tenant.key) as heard:
        headers = heard.response.headers
        assert headers["content-type"].startswith("text/event-stream")
        assert (headers["cache-control"], headers["x-accel-buffering"]) == ("no-store", "no")
        assert (heard.retry, heard.blocks) == (3000, [])
        assert headers["last-event-id"]
        records = [event(organisation, type_=name) for name in ("alert.firing", "alert.resolved")]
        messages = await tell(connection, event(UUID(other_tenant.id)), *records)
        got = await heard.wait(2)
        assert [block.message for block in got] == messages[1:]
        assert [block.event for block in got] == ["alert.firing", "alert.resolved"]
        last = await tell(connection, event(organisation, type_="webhook.test"))
        assert (await heard.wait(3))[2].message == last[0]
    first = got[0].data
    assert list(first) == ["id", "type", "timestamp", "data"]
    assert first["data"]["alert_id"] == str(records[0].payload["alert_id"])
    assert first["timestamp"].endswith("Z")
    assert datetime.fromisoformat(first["timestamp"]) == records[0].created_at


async def test_who_was_away_goes_on_where_he_was(
    url: str, tenant: Tenant, connection: asyncpg.Connection
) -> None:
    organisation = UUID(tenant.id)
    async with listening(url, tenant.key) as heard:
        beginning = heard.last_id
        before = await tell(connection, event(organisation), event(organisation))
        first, second = await heard.wait(2)
    missed = await tell(connection, *(event(organisation) for _ in range(450)))
    async with listening(url, tenant.key, last_event_id=second.id) as heard:
        await heard.wait(450)
        assert heard.messages == missed
        later = await tell(connection, event(organisation))
        await heard.wait(451)
        assert heard.messages[450:] == later
    # From before the first event; the header wins over the parameter; an empty header is none.
    async with listening(url, tenant.key, after=beginning) as heard:
        await heard.wait(453)
        assert heard.messages == before + missed + later
    async with listening(url, tenant.key, after=second.id, last_event_id=first.id) as heard:
        await heard.wait(452)
        assert heard.messages[0] == before[1]
    async with listening(url, tenant.key, after=second.id, last_event_id="") as heard:
        await heard.wait(451)
        assert heard.messages[0] == missed[0]


async def test_only_what_is_asked_for(
    url: str, tenant: Tenant, site_id: str, connection: asyncpg.Connection
) -> None:
    organisation, site = UUID(tenant.id), UUID(site_id)
    records = [
        alert_event(organisation, severity="info", site_id=site),
        alert_event(organisation, severity="warning", site_id=uuid4()),
        alert_event(organisation, type_="alert.resolved", severity="info", highest_severity="critical"),
        event(organisation, type_="webhook.test"),
        event(organisation, type_="endpoint.failing"),
    ]
    async with listening(url, tenant.key) as heard:
        start = heard.last_id
    all_of_them = await tell(connection, *records)

    async def given(expected: list[int], **params: Any) -> None:  # noqa: ANN401 (query parameters)
        async with listening(url, tenant.key, after=start, **params) as heard:
            await heard.wait(len(expected))
            assert heard.messages == [all_of_them[place] for place in expected]

    await given([0, 1], types="alert.firing")
    await given([0, 1, 2], types=["alert.firing", "alert.resolved"])
    await given([2, 3], types="alert.resolved, webhook.test")
    await given([0, 1, 2, 3, 4], types="*")
    await given([0], site=site_id)
    await given([1, 2, 3, 4], min_severity="warning")
    await given([2], min_severity="critical", types="alert.firing,alert.resolved")


async def test_what_is_no_longer_kept_is_said(
    url: str, tenant: Tenant, connection: asyncpg.Connection
) -> None:
    organisation = UUID(tenant.id)
    record = event(organisation)
    (kept,) = await tell(connection, record)
    within = StreamCursor(0, datetime.now(UTC) - timedelta(days=6)).token(organisation)
    async with listening(url, tenant.key, last_event_id=within) as heard:
        await heard.wait(1)
        assert heard.messages == [kept]
    ancient = StreamCursor(0, datetime.now(UTC) - timedelta(days=8)).token(organisation)
    async with listening(url, tenant.key, last_event_id=ancient) as heard:
        reset, following = await heard.wait(2)
    assert (reset.event, following.message) == ("stream.reset", kept)
    assert reset.data["type"] == "stream.reset"
    assert datetime.fromisoformat(reset.data["data"]["oldest"]) == record.created_at
    assert "GET /v1/alerts" in reset.data["data"]["detail"]
    async with listening(url, tenant.key, last_event_id=reset.id) as heard:
        await heard.wait(1)
        assert heard.messages == [kept]
    await connection.execute("DELETE FROM outbox")
    async with listening(url, tenant.key, last_event_id=ancient) as heard:
        (reset,) = await heard.wait(1)
        assert reset.data["data"]["oldest"] is None
        await tell(connection, event(organisation))
        await heard.wait(2)


async def test_a_quiet_stream_shows_that_it_lives_and_how_far_it_is(
    url: str, application: FastAPI, tenant: Tenant, connection: asyncpg.Connection
) -> None:
    change(application, stream_keepalive_s=0.1)
    async with listening(url, tenant.key, types="alert.resolved") as heard:
        before = heard.last_id
        await tell(connection, event(UUID(tenant.id)))
        await heard.hear(lambda: heard.comments >= 3 and heard.last_id != before)
        assert heard.last_id != before
        token = heard.last_id
    assert heard.events == []
    # What was left out need not be looked at again.
    async with listening(url, tenant.key, last_event_id=token) as heard:
        expected = await tell(connection, event(UUID(tenant.id)))
        await heard.wait(1)
        assert heard.messages == expected


async def refusal(url: str, key: str | None, headers: dict[bytes, bytes] | None = None, **params: Any) -> Any:  # noqa: ANN401
    known = {} if key is None else {b"Authorization": f"Bearer {key}".encode()}
    async with httpx.AsyncClient(base_url=url) as client:
        answer = await client.get(PATH, headers={**known, **(headers or {})}, params=params)
    assert answer.headers["content-type"] == "application/problem+json"
    if "errors" in answer.json():
        # Each fault once.
        assert len(answer.json()["errors"]) == 1
    return answer.status_code, answer.json()["code"]


async def test_what_is_refused(
    url: str, tenant: Tenant, other_tenant: Tenant, site_id: str, connection: asyncpg.Connection
) -> None:
    await tell(connection, event(UUID(tenant.id)))
    own, now = UUID(tenant.id), datetime.now(UTC)
    for token in (
        "",
        "12",
        "x" * 600,
        StreamCursor(1, now).token(UUID(other_tenant.id)),
        StreamCursor(10**6, now).token(own),
        StreamCursor(-1, now).token(own),
        StreamCursor(1, now).token(own)[:-3],
    ):
        status, code = await refusal(url, tenant.key, after=token)
        assert (status, code) in {(422, "invalid_cursor"), (422, "invalid_value")}, token
    forged = {b"Last-Event-ID": b"\xe9\xff"}
    assert await refusal(url, tenant.key, forged) == (422, "invalid_cursor")
    assert await refusal(url, tenant.key, types="alert.fring") == (422, "unknown_event_type")
    assert await refusal(url, tenant.key, types="") == (422, "unknown_event_type")
    assert await refusal(url, tenant.key, min_severity="grave") == (422, "invalid_value")
    assert await refusal(url, tenant.key, typ="x") == (422, "unknown_parameter")
    assert await refusal(url, tenant.key, site=str(uuid4())) == (404, "not_found")
    assert await refusal(url, other_tenant.key, site=site_id) == (404, "not_found")
    assert await refusal(url, other_tenant.key, organisation=tenant.id) == (404, "not_found")
    assert await refusal(url, None) == (401, "unauthorised")
    body = {"name": "narrow", "scopes": ["webhooks:read"]}
    narrow = (await tenant.client.post("/v1/api-keys", json=body)).raise_for_status().json()["key"]
    assert await refusal(url, narrow) == (403, "forbidden")


async def test_administrators_hear_their_own_organisation_or_one_they_name(
    url: str, tenant: Tenant, admin_key: str, connection: asyncpg.Connection
) -> None:
    platform = await connection.fetchval("SELECT id FROM organisations WHERE platform")
    async with (
        listening(url, admin_key) as own,
        listening(url, admin_key, organisation=tenant.id) as named,
        listening(url, tenant.key, organisation=tenant.id) as tenants,
    ):
        theirs, ours = await tell(connection, event(UUID(tenant.id)), event(platform))
        for heard in (own, named, tenants):
            await heard.wait(1)
        assert (own.messages, named.messages, tenants.messages) == ([ours], [theirs], [theirs])
    assert await refusal(url, admin_key, organisation=str(uuid4())) == (404, "not_found")


async def test_there_are_so_many_streams_and_no_more(
    url: str, application: FastAPI, tenant: Tenant, other_tenant: Tenant
) -> None:
    change(application, streams_per_organisation=2, streams_max=3)
    async with (
        listening(url, tenant.key),
        listening(url, other_tenant.key),
    ):
        async with listening(url, tenant.key):
            assert await refusal(url, tenant.key) == (429, "too_many_streams")
            assert await refusal(url, other_tenant.key) == (429, "too_many_streams")
            async with httpx.AsyncClient(base_url=url) as client:
                answer = await client.get(PATH, headers={"Authorization": f"Bearer {tenant.key}"})
            assert int(answer.headers["retry-after"]) > 0
        # A client that is gone leaves its place.
        await places(application, 2)
        async with listening(url, tenant.key):
            await places(application, 3)
    await places(application, 0)


async def test_an_integrator_and_its_clients_do_not_take_all_streams(
    application: FastAPI, api: httpx.AsyncClient, other_tenant: Tenant
) -> None:
    change(application, streams_per_organisation=1, streams_max=3, integrator_factor=2)
    hub = get_resource(application, StreamHub)
    above = (await api.post("/v1/organisations", json={"name": "I", "kind": "integrator"})).json()["id"]
    body = {"organisation_id": above, "name": "i", "scopes": ["*"]}
    key = (await api.post("/v1/api-keys", json=body)).json()["key"]
    async with client_of(application, key) as client:
        below = (await client.post("/v1/organisations", json={"name": "C"})).json()["id"]
        with hub.open_slot(uuid4(), UUID(above)), hub.open_slot(uuid4(), UUID(above)):
            refused = await client.get(PATH, params={"organisation": below})
            assert (refused.status_code, refused.json()["code"]) == (429, "too_many_streams")
            with hub.open_slot(UUID(other_tenant.id), UUID(other_tenant.id)):
                pass


async def places(application: FastAPI, count: int) -> None:
    async def so_many() -> bool:
        return len(get_resource(application, StreamHub).list_slots()) == count

    await until(so_many)


async def test_a_revoked_key_ends_its_stream(
    url: str, application: FastAPI, tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slot_stream, "CHECK_EVERY_S", 0.2)
    body = {"name": "display", "scopes": ["alerts:read"]}
    made = (await tenant.client.post("/v1/api-keys", json=body)).raise_for_status().json()
    async with listening(url, made["key"]) as heard, listening(url, tenant.key) as other:
        await asyncio.sleep(0.5)
        assert not heard.ended
        (await tenant.client.delete(f"/v1/api-keys/{made['id']}")).raise_for_status()
        await heard.end()
        await asyncio.sleep(0.3)
        assert not other.ended
    await places(application, 0)


async def test_who_is_limited_to_sites_meanwhile_hears_no_more(
    *,
    url: str,
    application: FastAPI,
    api: httpx.AsyncClient,
    tenant: Tenant,
    site_id: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(slot_stream, "CHECK_EVERY_S", 0.2)
    async with OrganisationPeople(application, api, tenant.id) as folk:
        ada = await folk.join("Ada", "viewer")
        async with listening(url, ada.token) as heard:
            path = f"/v1/members/{ada.member_id}"
            (await tenant.client.patch(path, json={"site_ids": [site_id]})).raise_for_status()
            await heard.end()


@pytest.fixture
def impatient(application: FastAPI, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keys are checked, and comments written, several times a second."""
    monkeypatch.setattr(slot_stream, "CHECK_EVERY_S", 0.3)
    change(application, stream_keepalive_s=0.2)


@pytest.mark.usefixtures("impatient")
async def test_the_database_may_go_away(
    url: str, tenant: Tenant, connection: asyncpg.Connection, postgres: PrivatePostgres
) -> None:
    """The stream stays open, says that it lives, and misses nothing; a key that cannot be checked stays."""
    name = await connection.fetchval("SELECT current_database()")
    other = await asyncpg.connect(postgres.url)
    async with listening(url, tenant.key) as heard:
        await other.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS false')
        await connection.execute(
            "SELECT pg_terminate_backend(pid, 60000) FROM pg_stat_activity "
            "WHERE datname = $1 AND pid <> pg_backend_pid() AND usename = current_user",
            name,
        )
        messages = await tell(connection, *(event(UUID(tenant.id)) for _ in range(3)))
        said = heard.comments
        await heard.hear(lambda: heard.comments >= said + 3)
        assert heard.events == []
        await other.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS true')
        await heard.wait(3, 20)
        assert heard.messages == messages
        more = await tell(connection, event(UUID(tenant.id)))
        await heard.wait(4)
        assert heard.messages[3:] == more
    await other.close()


async def test_who_does_not_read_is_cut_off_and_costs_little(
    application: FastAPI, tenant: Tenant, connection: asyncpg.Connection
) -> None:
    organisation = UUID(tenant.id)
    large = {"text": "x" * 20_000}
    records = [
        OutboxRecord(new_id(), organisation, None, "alert.firing", large, datetime.now(UTC))
        for _ in range(1500)
    ]
    async with serving(application, patience_s=1.5) as url:
        async with listening(url, tenant.key) as heard:
            start = heard.last_id
        await places(application, 0)
        await tell(connection, *records)
        host, port = url.removeprefix("http://").split(":")
        before = STREAM_EVENTS._value.get()
        reader, writer = await asyncio.open_connection(host, int(port), limit=1024)
        head = f"GET {PATH}?after={start} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {tenant.key}\r\n\r\n"
        writer.write(head.encode())
        await reader.readline()
        await places(application, 1)
        await places(application, 0)
        # 30 MB wait: what sockets take, and a page or two, were read.
        assert STREAM_EVENTS._value.get() - before < 1200
        writer.close()


async def test_pages_are_read_by_the_index(
    tenant: Tenant, other_tenant: Tenant, connection: asyncpg.Connection
) -> None:
    organisation = UUID(tenant.id)
    for owner, count in ((organisation, 300), (UUID(other_tenant.id), 20_000)):
        await connection.execute(
            "INSERT INTO outbox "
            "(id, organisation_id, type, payload, created_at, fanned_out_at, stream_position) "
            "SELECT gen_random_uuid(), $1, 'alert.firing', '{}', now(), now(), nextval('outbox_stream') "
            "FROM generate_series(1, $2)",
            owner,
            count,
        )
    await connection.execute("ANALYZE outbox")
    by_owner, by_position = '"ix_outbox_stream"', '"ix_outbox_stream_position"'
    for statement, arguments, index in (
        (reads._PAGE, (organisation, 100, 200), by_owner),
        (reads._OLDEST, (organisation, 100), by_owner),
        (reads._NEWS, (20_250,), by_position),
        (reads._NEWEST, (), by_position),
    ):
        plan = await connection.fetchval(f"EXPLAIN (FORMAT JSON) {statement}", *arguments)
        assert index in plan, plan
        assert '"Relation Name": "outbox"' in plan
        assert '"Seq Scan"' not in plan, plan
    page = await reads.read_event_page(connection, organisation, 100)
    assert (page.full, page.newest) == (True, 20_300)
    assert [one.position for one in page.events] == list(range(101, 301))
    assert await reads.read_updated_organisations(connection, 250) == {
        organisation: 300,
        UUID(other_tenant.id): 20_300,
    }


async def test_a_stopping_server_takes_no_stream(application: FastAPI, tenant: Tenant) -> None:
    async with serving(application) as url, listening(url, tenant.key) as heard:
        get_resource(application, StreamHub).stop()
        await heard.end()
        async with client_of(application, tenant.key) as client:
            answer = await client.get(PATH)
        assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")


async def test_a_stream_may_end_while_the_hub_looks(
    application: FastAPI, tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub = get_resource(application, StreamHub)
    pool = hub.pool
    for _ in range(2):
        with contextlib.ExitStack() as stack, monkeypatch.context() as patch:
            stack.enter_context(hub.open_slot(UUID(tenant.id), UUID(tenant.id)))

            @contextlib.asynccontextmanager
            async def acquire(ending: contextlib.ExitStack = stack) -> AsyncIterator[Any]:
                async with pool.acquire() as connection:
                    yield connection
                ending.close()

            patch.setattr(hub, "pool", SimpleNamespace(acquire=acquire))
            assert await hub._check_for_events()
    assert hub.list_slots() == []
    assert hub._watching is not None
    assert not hub._watching.done()


async def test_every_event_that_httpx_sse_gives_is_json(
    url: str, application: FastAPI, tenant: Tenant, connection: asyncpg.Connection
) -> None:
    """Keep-alives before the first event, and after one whose id the client remembers, are no events."""
    change(application, stream_keepalive_s=0.1)
    headers = {"Authorization": f"Bearer {tenant.key}"}
    got: list[dict[str, Any]] = []
    async with (
        httpx.AsyncClient(base_url=url, timeout=30) as client,
        aconnect_sse(client, "GET", PATH, headers=headers) as source,
    ):
        begins = source.response.headers["last-event-id"]

        async def speak() -> list[str]:
            said = []
            for _ in range(2):
                # Some keep-alives come meanwhile.
                await asyncio.sleep(0.5)
                said += await tell(connection, event(UUID(tenant.id)))
            return said

        speaking = asyncio.create_task(speak())
        async with asyncio.timeout(60):
            async for each in source.aiter_sse():
                got.append(json.loads(each.data))
                if len(got) == 2:
                    break
        messages = await speaking
    assert [body["id"] for body in got] == messages
    # Cut off before the first event, it would have missed none.
    async with listening(url, tenant.key, last_event_id=begins) as heard:
        await heard.wait(2)
        assert heard.messages == messages
