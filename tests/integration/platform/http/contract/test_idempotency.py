"""`Idempotency-Key` over REST, on a real database: carried out once, and answered as the first time."""

import asyncio
import base64
import json
import uuid
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, cast

import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy import text

from app.platform.db.database import Database
from app.platform.http.contract import idempotency_keys
from app.platform.http.contract.buffered_response import BufferedResponse
from app.platform.kernel.application_resources import provide_resources
from app.platform.secrets.sealing import SecretSealer
from app.settings import VigieSettings
from app.standalone.free_ports import find_free_port
from tests.conftest import Tenant, client_of
from tests.scenarios.processes import RoleProcess, until

SITE = {
    "name": "Quai de la Daurade",
    "kind": "street",
    "timezone": "Europe/Paris",
    "location": {"type": "Point", "coordinates": [1.4396, 43.6009]},
}
CSV = {"Content-Type": "text/csv", "Accept": "text/csv"}


def named(key: str = "first", **more: str) -> dict[str, str]:
    return {"Idempotency-Key": key, **more}


async def code_of(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["code"]


async def count(database: Database, table: str) -> int:
    async with database.read() as session:
        return int(await session.scalar(text(f"SELECT count(*) FROM {table}")) or 0)  # noqa: S608 (names of tables)


async def execute(database: Database, statement: str) -> None:
    async with database.write() as session:
        await session.execute(text(statement))


async def test_a_repeat_gets_the_first_answer_and_makes_nothing(tenant: Tenant, database: Database) -> None:
    first = await tenant.client.post("/v1/sites", json=SITE, headers=named())
    again = await tenant.client.post("/v1/sites", json=SITE, headers=named('"first"'))
    assert first.status_code == again.status_code == 201
    assert again.content == first.content
    assert again.headers["content-type"] == first.headers["content-type"]
    assert (first.headers.get("idempotency-replayed"), again.headers["idempotency-replayed"]) == (
        None,
        "true",
    )
    assert first.headers["x-request-id"] != again.headers["x-request-id"]
    other = await tenant.client.post("/v1/sites", json=SITE, headers=named("second"))
    assert other.json()["id"] != first.json()["id"]
    assert await count(database, "sites") == 2


async def test_what_is_shown_once_is_kept_sealed(
    tenant: Tenant, site_id: str, database: Database, application: FastAPI
) -> None:
    body = {"name": "dashboard", "scopes": ["sites:read"]}
    first, again = [await tenant.client.post("/v1/api-keys", json=body, headers=named()) for _ in range(2)]
    assert again.json()["key"] == first.json()["key"]
    box = {"id": "box-0001", "site_id": site_id}
    first, again = [await tenant.client.post("/v1/boxes", json=box, headers=named("box")) for _ in range(2)]
    password = first.json()["credentials"]["password"]
    assert again.json() == first.json()
    rotate = "/v1/boxes/box-0001/credentials"
    first, again = [await tenant.client.post(rotate, headers=named("rotated")) for _ in range(2)]
    assert again.json() == first.json() != {"credentials": {"username": "box-0001", "password": password}}
    async with database.read() as session:
        rows = (await session.execute(text("SELECT * FROM idempotency_keys"))).mappings().all()
    assert len(rows) == 3
    for row in rows:
        assert row["answer"].startswith("sealed:1:")
        assert (row["expires_at"] - row["created_at"]) == idempotency_keys.RETENTION
        assert str(row["organisation_id"]) == tenant.id
    # An answer whose key is lost is not made up.
    provide_resources(application, SecretSealer([b"x" * 32]))
    lost = await tenant.client.post(rotate, headers=named("rotated"))
    assert await code_of(lost) == (409, "idempotency_outcome_unknown")


async def test_repeats_are_known_while_the_encryption_key_is_replaced(
    tenant: Tenant, application: FastAPI
) -> None:
    provide_resources(application, SecretSealer([b"o" * 32]))
    first = await tenant.client.post("/v1/sites", json=SITE, headers=named())
    provide_resources(application, SecretSealer([b"n" * 32, b"o" * 32]))
    assert (await tenant.client.post("/v1/sites", json=SITE, headers=named())).content == first.content
    other = await tenant.client.post("/v1/sites", json={**SITE, "name": "Other"}, headers=named())
    assert await code_of(other) == (409, "idempotency_key_reused")


async def test_tables_are_answered_alike(tenant: Tenant, site_id: str) -> None:
    table = f"id,site_id\nbox-1,{site_id}\nbox-2,{site_id}\n"
    calls = [
        await tenant.client.post("/v1/boxes/bulk", content=table, headers=named(**CSV)) for _ in range(2)
    ]
    assert calls[0].status_code == 201
    assert calls[0].content == calls[1].content
    assert calls[1].headers["content-type"] == calls[0].headers["content-type"]
    assert calls[1].headers["cache-control"] == "no-store"


@pytest.mark.parametrize(
    ("path", "change"),
    [("/v1/sites", {"name": "Other"}), ("/v1/sites?x=", {}), ("/v1/organisations", {})],
    ids=["body", "query", "route"],
)
async def test_another_request_under_the_key_is_refused(
    tenant: Tenant, path: str, change: dict[str, str]
) -> None:
    (await tenant.client.post("/v1/sites", json=SITE, headers=named())).raise_for_status()
    refused = await tenant.client.post(path, json={**SITE, **change}, headers=named())
    assert await code_of(refused) == (409, "idempotency_key_reused")


async def test_keys_are_the_callers_own(tenant: Tenant, other_tenant: Tenant, application: FastAPI) -> None:
    body = {"name": "second", "scopes": ["*"]}
    key = (await tenant.client.post("/v1/api-keys", json=body)).json()["key"]
    async with client_of(application, key) as colleague:
        made = {
            (await client.post("/v1/sites", json=SITE, headers=named())).raise_for_status().json()["id"]
            for client in (tenant.client, other_tenant.client, colleague)
        }
    assert len(made) == 3


@pytest.mark.parametrize(
    ("body", "status"),
    [({**SITE, "kind": 5}, 422), ({**SITE, "organisation_id": str(uuid.uuid4())}, 422), ("{", 400)],
    ids=["field", "service", "json"],
)
async def test_a_faulty_body_may_be_mended_under_the_same_key(
    tenant: Tenant, database: Database, body: dict[str, object] | str, status: int
) -> None:
    json_type = {"Content-Type": "application/json"}
    content = body if isinstance(body, str) else json.dumps(body)
    refused = await tenant.client.post("/v1/sites", content=content, headers=named(**json_type))
    assert refused.status_code == status
    assert await count(database, "idempotency_keys") == 0
    assert (await tenant.client.post("/v1/sites", json=SITE, headers=named())).status_code == 201


async def test_what_is_refused_may_be_asked_for_again_under_the_same_key(
    tenant: Tenant, site_id: str, application: FastAPI
) -> None:
    box = {"id": "box-0001", "site_id": str(uuid.uuid4())}
    assert (await tenant.client.post("/v1/boxes", json=box, headers=named())).status_code == 404
    made = await tenant.client.post("/v1/boxes", json={**box, "site_id": site_id}, headers=named())
    assert made.status_code == 201
    scopes = {"name": "reader", "scopes": ["sites:read"]}
    key = (await tenant.client.post("/v1/api-keys", json=scopes)).json()["key"]
    async with client_of(application, key) as reader:
        answers = [await reader.post("/v1/sites", json=SITE, headers=named()) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [403, 403]
    assert "idempotency-replayed" not in answers[1].headers
    async with client_of(application, None) as nobody:
        assert (await nobody.post("/v1/sites", json=SITE, headers=named(" "))).status_code == 401


@pytest.mark.parametrize(
    "key", ["", "a b", "é", "x" * 256, "a\tb"], ids=["none", "space", "é", "long", "tab"]
)
async def test_a_key_is_1_to_255_visible_characters(tenant: Tenant, key: str) -> None:
    header = (b"Idempotency-Key", key.encode())
    refused = await tenant.client.post("/v1/sites", json=SITE, headers=[header])
    assert await code_of(refused) == (422, "invalid_idempotency_key")
    two = [(b"Idempotency-Key", b"a"), (b"Idempotency-Key", b"b")]
    refused = await tenant.client.post("/v1/sites", json=SITE, headers=two)
    assert await code_of(refused) == (422, "invalid_idempotency_key")


async def test_a_key_carries_nothing_that_must_never_enter(tenant: Tenant, database: Database) -> None:
    carrier = base64.b64encode(bytes(range(3, 190))).decode()
    refused = await tenant.client.post("/v1/sites", json=SITE, headers={"Idempotency-Key": carrier})
    assert await code_of(refused) == (422, "forbidden_content")
    async with database.read() as session:
        count = text("SELECT count(*) FROM idempotency_keys WHERE key = :key")
        kept = await session.scalar(count, {"key": carrier})
    assert kept == 0


async def test_who_has_no_key_has_no_answers_to_ask_for(application: FastAPI) -> None:
    async with client_of(application, None) as nobody:
        for path in ("/v1/claims/redeem", "/v1/provision"):
            refused = await nobody.post(path, json={}, headers=named())
            assert await code_of(refused) == (422, "idempotency_key_not_taken")


async def test_without_an_encryption_key_nothing_is_carried_out(
    tenant: Tenant, application: FastAPI, database: Database
) -> None:
    provide_resources(application, SecretSealer([]))
    refused = await tenant.client.post("/v1/sites", json=SITE, headers=named())
    assert await code_of(refused) == (503, "encryption_key_missing")
    assert await count(database, "sites") == 0
    assert (await tenant.client.post("/v1/sites", json=SITE)).status_code == 201


async def test_of_many_at_once_one_is_carried_out(tenant: Tenant, database: Database) -> None:
    answers = await asyncio.gather(
        *(tenant.client.post("/v1/sites", json=SITE, headers=named()) for _ in range(8))
    )
    made = [answer for answer in answers if answer.status_code == 201]
    assert len({answer.json()["id"] for answer in made}) == 1
    for answer in answers:
        if answer.status_code != 201:
            assert await code_of(answer) == (409, "idempotency_key_in_use")
            assert answer.headers["retry-after"] == "1"
    assert await count(database, "sites") == 1


async def test_a_failure_of_ours_frees_the_key(tenant: Tenant, database: Database) -> None:
    await execute(database, "ALTER TABLE sites ADD COLUMN broken int NOT NULL CHECK (broken > 0) DEFAULT 0")
    failed = await tenant.client.post("/v1/sites", json=SITE, headers=named())
    assert failed.status_code == 500
    assert await count(database, "idempotency_keys") == 0
    await execute(database, "ALTER TABLE sites DROP COLUMN broken")
    assert (await tenant.client.post("/v1/sites", json=SITE, headers=named())).status_code == 201


async def held_up(
    tenant: Tenant, database: Database
) -> tuple[Callable[[], Awaitable[None]], asyncio.Task[httpx.Response]]:
    """A request that waits in the middle of its change until it is let go."""
    locker = await database.connect()
    await locker.execute("BEGIN; LOCK TABLE sites IN SHARE MODE")
    slow = asyncio.create_task(tenant.client.post("/v1/sites", json=SITE, headers=named()))

    async def waiting() -> bool:
        return await count(database, "pg_locks WHERE NOT granted") > 0

    await until(waiting)
    return locker.close, slow


async def test_who_was_overtaken_commits_nothing(tenant: Tenant, database: Database) -> None:
    # The slow one waits for a lock in the middle of its change, and its lease ends.
    let_go, slow = await held_up(tenant, database)
    in_use = await tenant.client.post("/v1/sites", json=SITE, headers=named())
    assert await code_of(in_use) == (409, "idempotency_key_in_use")
    await execute(database, "UPDATE idempotency_keys SET claimed_at = claimed_at - interval '91 s'")
    quick = asyncio.create_task(tenant.client.post("/v1/sites", json=SITE, headers=named()))

    async def taken_over() -> bool:
        return await count(database, "pg_locks WHERE NOT granted") > 1

    await until(taken_over)
    await let_go()
    answers = await asyncio.gather(slow, quick)
    assert [answer.status_code for answer in answers] == [409, 201]
    assert answers[0].json()["code"] == "idempotency_key_in_use"
    assert await count(database, "sites") == 1
    again = await tenant.client.post("/v1/sites", json=SITE, headers=named())
    assert again.content == answers[1].content


async def test_what_took_too_long_frees_the_key(tenant: Tenant, database: Database) -> None:
    let_go, slow = await held_up(tenant, database)
    slow.cancel()
    with pytest.raises(asyncio.CancelledError):
        await slow
    assert await count(database, "idempotency_keys") == 0
    await let_go()
    assert (await tenant.client.post("/v1/sites", json=SITE, headers=named())).status_code == 201
    assert await count(database, "sites") == 1


async def test_kept_answers_end_after_a_day(
    tenant: Tenant, database: Database, settings: VigieSettings
) -> None:
    for key in ("first", "second"):
        (await tenant.client.post("/v1/sites", json=SITE, headers=named(key))).raise_for_status()
    await execute(database, "UPDATE idempotency_keys SET expires_at = now() WHERE key = 'first'")
    # What has expired is not there, be it removed or not.
    other = await tenant.client.post("/v1/sites", json={**SITE, "name": "Other"}, headers=named())
    assert other.status_code == 201
    await execute(database, "UPDATE idempotency_keys SET expires_at = now() WHERE key = 'second'")
    maintainer = Database(settings.database, application="tests", role="vigie_maintain")
    connection = await maintainer.connect()
    assert await idempotency_keys.delete_expired_keys(connection) == 1
    await connection.close()
    await maintainer.close()


HANG = """
CREATE FUNCTION hang() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(60); RETURN NEW; END $$
"""


@pytest.mark.fault
@pytest.mark.parametrize("when", ["before the change", "after the commit"])
async def test_killed_in_the_middle(tenant: Tenant, database: Database, tmp_path: Path, when: str) -> None:
    before = when == "before the change"
    await execute(database, HANG)
    await execute(
        database,
        "CREATE TRIGGER hang AFTER INSERT ON sites FOR EACH ROW EXECUTE FUNCTION hang()"
        if before
        else "CREATE TRIGGER hang BEFORE UPDATE ON idempotency_keys FOR EACH ROW"
        " WHEN (NEW.state = 'answered') EXECUTE FUNCTION hang()",
    )
    port = find_free_port()
    process = RoleProcess("api", tmp_path / "api.log")
    await process.start(VIGIE_API__PORT=str(port))
    headers = {**dict(tenant.client.headers), **named()}
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", headers=headers) as client:

        async def serves() -> bool:
            try:
                return (await client.get("/healthz")).status_code == 200
            except httpx.TransportError:
                return False

        await until(serves, patience_s=60)
        call = asyncio.create_task(client.post("/v1/sites", json=SITE))

        async def hangs() -> bool:
            return await count(database, "pg_stat_activity WHERE wait_event = 'PgSleep'") > 0

        await until(hangs)
        await process.kill()
        with pytest.raises(httpx.TransportError):
            await call
    # The server sees within two seconds that nobody listens.
    await execute(database, "DROP FUNCTION hang CASCADE")
    again = await tenant.client.post("/v1/sites", json=SITE, headers=named())
    assert await code_of(again) == (409, "idempotency_key_in_use")
    await execute(database, "UPDATE idempotency_keys SET claimed_at = claimed_at - interval '91 s'")
    again = await tenant.client.post("/v1/sites", json=SITE, headers=named())
    if before:
        assert again.status_code == 201
    else:
        assert await code_of(again) == (409, "idempotency_outcome_unknown")
    assert await count(database, "sites") == 1


async def asked_again(
    client: httpx.AsyncClient, body: dict[str, Any], status: int, path: str = "/v1/api-keys"
) -> httpx.Response:
    """Ask until the API has heard of the change of the key, a moment after it."""

    async def ask() -> httpx.Response | None:
        answer = await client.post(path, json=body, headers=named())
        return answer if answer.status_code == status else None

    return cast("httpx.Response", await until(ask))


async def narrow(database: Database, key_id: str, **columns: str) -> None:
    """There is no call that takes rights from a key: an operator at the database can."""
    told = ", ".join(f"{name} = {value}" for name, value in columns.items())
    await execute(database, f"UPDATE api_keys SET {told} WHERE id = '{key_id}'")  # noqa: S608 (ours)


@pytest.mark.parametrize(
    ("columns", "code"),
    [
        ({"scopes": "'{sites:read}'"}, "forbidden"),
        # It may still make keys, and would be shown one that may do all that it may not any more.
        ({"scopes": "'{organisations:write,sites:read}'"}, "idempotency_rights_lost"),
        ({"site_ids": "ARRAY[gen_random_uuid()]"}, "limited_to_sites"),
    ],
    ids=["the scope itself", "another scope", "sites"],
)
async def test_who_may_do_less_by_now_is_not_shown_what_was_kept(
    tenant: Tenant, database: Database, application: FastAPI, columns: dict[str, str], code: str
) -> None:
    mine = (await tenant.client.post("/v1/api-keys", json={"name": "mine", "scopes": ["*"]})).json()
    body = {"name": "dashboard", "scopes": ["*"]}
    async with client_of(application, mine["key"]) as client:
        made = await client.post("/v1/api-keys", json=body, headers=named())
        assert made.status_code == 201, made.text
        await narrow(database, mine["id"], **columns)
        refused = await asked_again(client, body, 403)
        assert await code_of(refused) == (403, code)
        assert made.json()["key"] not in refused.text
        # What was taken away comes back: so does the answer.
        await narrow(database, mine["id"], scopes="'{*}'", site_ids="NULL")
        again = await asked_again(client, body, 201)
    assert again.content == made.content


async def test_more_rights_are_in_no_answers_way(
    tenant: Tenant, site_id: str, database: Database, application: FastAPI
) -> None:
    wanted = {"name": "mine", "scopes": ["boxes:write"], "site_ids": [site_id]}
    mine = (await tenant.client.post("/v1/api-keys", json=wanted)).json()
    box = {"id": "box-0001", "site_id": site_id}
    async with client_of(application, mine["key"]) as client:
        made = await client.post("/v1/boxes", json=box, headers=named())
        assert made.status_code == 201, made.text
        await narrow(database, mine["id"], scopes="'{sites:write,rules:read}'", site_ids="NULL")
        assert (await client.post("/v1/boxes", json=box, headers=named())).content == made.content
        await narrow(database, mine["id"], site_ids="ARRAY[gen_random_uuid()]")
        refused = await asked_again(client, box, 403, "/v1/boxes")
    assert await code_of(refused) == (403, "idempotency_rights_lost")


async def test_refusals_leave_nothing_behind(
    tenant: Tenant, database: Database, application: FastAPI
) -> None:
    """Whoever has a key could fill the table with them."""
    box = {"id": "box-0001", "site_id": str(uuid.uuid4())}
    for number in range(3):
        refused = await tenant.client.post("/v1/boxes", json=box, headers=named(str(number)))
        assert refused.status_code == 404
    taken = {"kind": "mqtt"}
    answers = [
        await tenant.client.post("/v1/channels", json=taken, headers=named(name)) for name in ("a", "b")
    ]
    assert [answer.status_code for answer in answers] == [201, 409]
    assert await count(database, "idempotency_keys") == 1
    reader = (await tenant.client.post("/v1/api-keys", json={"name": "r", "scopes": ["sites:read"]})).json()
    async with client_of(application, reader["key"]) as client:
        assert (await client.post("/v1/boxes", json=box, headers=named())).status_code == 403
    assert await count(database, "idempotency_keys") == 1


async def test_answers_of_an_older_version_are_not_shown(
    tenant: Tenant, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    def written(answer: BufferedResponse, _: object) -> str:
        body = base64.b64encode(answer.body).decode()
        return json.dumps({"headers": [], "body": body})

    monkeypatch.setattr(idempotency_keys, "_written", written)
    (await tenant.client.post("/v1/sites", json=SITE, headers=named())).raise_for_status()
    again = await tenant.client.post("/v1/sites", json=SITE, headers=named())
    assert await code_of(again) == (409, "idempotency_outcome_unknown")
    assert await count(database, "sites") == 1
