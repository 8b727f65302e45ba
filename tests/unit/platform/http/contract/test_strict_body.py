"""How the bytes of a request become a document: real FastAPI, no services."""

import asyncio
import json
import threading
from collections.abc import AsyncIterator, MutableMapping
from datetime import datetime
from typing import Annotated, Any
from unittest.mock import Mock
from uuid import UUID

import httpx
import pytest
from fastapi import APIRouter, Depends, FastAPI

from app.platform.config.api_settings import ApiSettings
from app.platform.http.contract import problems, strict_body
from app.platform.http.contract.fields import Name, RequestBody
from app.platform.http.contract.strict_body import StrictRoute
from app.platform.identity.caller_authentication import CallerAuthenticator, Principal, require_scope
from app.platform.kernel import strict_json
from app.platform.kernel.application_resources import provide_resources
from app.platform.kernel.tenant_scope import EMPTY_SCOPE

JSON = {"content-type": "application/json"}
LIMIT = 2_000


class Thing(RequestBody):
    name: Name
    value: float | None = None


class SmallRoute(StrictRoute):
    max_body = 100


router = APIRouter(prefix="/v1", route_class=StrictRoute)
small = APIRouter(prefix="/v1/small", route_class=SmallRoute)


@small.post("/things")
async def make_small(body: Thing) -> Thing:
    return body


@router.post("/things")
async def make(body: Thing) -> Thing:
    return body


@router.post("/optional")
async def optional(body: Thing | None = None) -> bool:
    return body is None


@router.post("/guarded")
async def guarded(body: Thing, _: Annotated[Principal, Depends(require_scope("sites:write"))]) -> Thing:
    return body


@router.get("/things")
async def read() -> str:
    return "there"


async def nobody(_: str, __: datetime) -> Principal:
    """Who may do nothing."""
    return Principal(UUID(int=1), UUID(int=2), platform=False, scopes=frozenset(), tenant_scope=EMPTY_SCOPE)


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    app = FastAPI()
    app.include_router(router)
    app.include_router(small)
    problems.install_error_handlers(app)
    provide_resources(app, ApiSettings.model_construct(max_body_bytes=LIMIT, patience_s=0.2))
    provide_resources(app, CallerAuthenticator(Mock(spec=[]), None, {"nobody": nobody}))
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://vigie.test") as opened:
        yield opened


async def test_a_plain_body_is_taken(client: httpx.AsyncClient) -> None:
    for headers in (
        JSON,
        {"content-type": "application/json; charset=UTF-8"},
        {"content-type": "Application/JSON"},
        {**JSON, "content-encoding": "identity"},
        {"content-type": "application/merge-patch+json"},
    ):
        answer = await client.post(
            "/v1/things", content='{"name": "é", "value": 3}'.encode(), headers=headers
        )
        assert answer.json() == {"name": "é", "value": 3.0}, headers
    assert (await client.get("/v1/things")).json() == "there"


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b'{"name": NaN}', 400, "invalid_json"),
        (b'{"name": "a", "value": Infinity}', 400, "invalid_json"),
        (b'{"name": "a", "value": 1e400}', 400, "number_out_of_range"),
        (b'{"name": "a", "value": ' + b"9" * 1500 + b"}", 400, "number_out_of_range"),
        (b"", 400, "empty_body"),
        (b" \n", 400, "empty_body"),
        (b'{"name": "a"', 400, "invalid_json"),
        (b'{"name": "a"} {}', 400, "invalid_json"),
        (b'{"name": "a", "value": 01}', 400, "invalid_json"),
        (b'{"name": "a",}', 400, "invalid_json"),
        (b"[" * 9 + b"]" * 9, 400, "nesting_too_deep"),
        (b'{"name": "\xff"}', 400, "invalid_encoding"),
        ('{"name": "a"}'.encode("utf-16"), 400, "invalid_encoding"),
        ('{"name": "a"}'.encode("utf-16-le"), 400, "invalid_encoding"),
        (b'\xef\xbb\xbf{"name": "a"}', 400, "invalid_encoding"),
        (b'{"name": "\\ud800"}', 400, "lone_surrogate"),
        (b'{"name": "a", "name": "b"}', 400, "duplicate_key"),
        (b'{"name": "a\\u0000"}', 422, "nul_in_text"),
        (b'{"name": "a", "value": true}', 422, "wrong_type"),
        (b'{"name": "a", "value": "1"}', 422, "wrong_type"),
        (b'{"name": null}', 422, "wrong_type"),
        (b"[]", 422, "wrong_type"),
        (b'"text"', 422, "wrong_type"),
        (b"null", 422, None),
        (b"{}", 422, "missing_field"),
        (b'{"name": "a", "more": 1}', 422, "unknown_field"),
        (b'{"name": "' + b"a" * 500 + b'"}', 413, "text_too_long"),
        (b'{"name": "' + b"a" * LIMIT + b'"}', 413, "body_too_large"),
    ],
)
async def test_a_faulty_body_is_refused_with_its_code(
    client: httpx.AsyncClient, body: bytes, status: int, code: str | None
) -> None:
    answer = await client.post("/v1/things", content=body, headers=JSON)
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"].startswith("application/problem+json")
    assert code is None or answer.json()["code"] == code


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({}, "unsupported_media_type"),
        ({"content-type": ""}, "unsupported_media_type"),
        ({"content-type": "text/plain"}, "unsupported_media_type"),
        ({"content-type": "application/cbor"}, "unsupported_media_type"),
        ({"content-type": "application/x-www-form-urlencoded"}, "unsupported_media_type"),
        ({"content-type": "application/json; charset=utf-16"}, "unsupported_media_type"),
        ({**JSON, "content-encoding": "gzip"}, "unsupported_encoding"),
        ({**JSON, "content-encoding": "identity, gzip"}, "unsupported_encoding"),
    ],
)
async def test_another_format_is_refused(
    client: httpx.AsyncClient, headers: dict[str, str], code: str
) -> None:
    answer = await client.post("/v1/things", content=b'{"name": "a"}', headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (415, code)


async def test_a_body_without_a_length_is_cut_off(client: httpx.AsyncClient) -> None:
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        while True:
            sent += 100
            yield b"a" * 100

    answer = await client.post("/v1/things", content=endless(), headers=JSON)
    assert (answer.status_code, answer.json()["code"]) == (413, "body_too_large")
    assert sent <= LIMIT + 200


async def test_a_body_that_may_be_missing_may_be_missing(client: httpx.AsyncClient) -> None:
    assert (await client.post("/v1/optional")).json() is True
    assert (await client.post("/v1/optional", json={"name": "a"})).json() is False
    assert (await client.post("/v1/optional", content=b"{", headers=JSON)).status_code == 400


async def test_without_a_key_nothing_of_the_body_is_read(client: httpx.AsyncClient) -> None:
    async def unreadable() -> AsyncIterator[bytes]:
        raise AssertionError
        yield b""

    answer = await client.post("/v1/guarded", content=unreadable(), headers=JSON)
    assert (answer.status_code, answer.json()["code"]) == (401, "unauthorised")
    assert answer.headers["www-authenticate"] == "Bearer"


async def test_nor_with_a_key_that_cannot_be_one(client: httpx.AsyncClient) -> None:
    async def unreadable() -> AsyncIterator[bytes]:
        raise AssertionError
        yield b""

    for given in ("Basic eDp5", "Bearer", "Bearer vg_", f"Bearer vg_{'A' * 38}", "Bearer vg_x y"):
        headers = {**JSON, "authorization": given}
        answer = await client.post("/v1/guarded", content=unreadable(), headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (401, "unauthorised"), given


async def test_nor_with_a_key_that_may_not(client: httpx.AsyncClient) -> None:
    async def unreadable() -> AsyncIterator[bytes]:
        raise AssertionError
        yield b""

    for once in ({}, {"idempotency-key": "1"}):
        headers = {**JSON, "authorization": "Bearer nobody", **once}
        answer = await client.post("/v1/guarded", content=unreadable(), headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")


async def test_a_route_may_take_less_than_the_installation(client: httpx.AsyncClient) -> None:
    fits, exceeds = (b'{"name": "a"' + b" " * spaces + b"}" for spaces in (87, 88))
    assert (await client.post("/v1/small/things", content=fits, headers=JSON)).status_code == 200
    for content in (exceeds, _in_parts(exceeds)):
        answer = await client.post("/v1/small/things", content=content, headers=JSON)
        assert (answer.status_code, answer.json()["code"]) == (413, "body_too_large")


async def _in_parts(body: bytes) -> AsyncIterator[bytes]:
    yield body[:50]
    yield body[50:]


async def test_a_large_body_is_read_beside_the_loop(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads: list[bool] = []

    def loads(data: bytes, *, max_depth: int) -> Any:  # noqa: ANN401 (whatever JSON holds)
        threads.append(threading.current_thread() is threading.main_thread())
        return json.loads(data) if max_depth else None

    monkeypatch.setattr(strict_json, "parse_strict_json", loads)
    monkeypatch.setattr(strict_body, "_PARSE_INLINE_BYTES", 50)
    for spaces in (1, 50):
        body = b'{"name": "a"' + b" " * spaces + b"}"
        assert (await client.post("/v1/things", content=body, headers=JSON)).json()["name"] == "a"
    assert threads == [True, False]


async def test_an_answer_to_many_faults_stays_small(client: httpx.AsyncClient) -> None:
    fields = ", ".join(f'"{number}{"x" * 20}": 1' for number in range(60))
    answer = await client.post("/v1/things", content="{" + fields + "}", headers=JSON)
    assert answer.status_code == 422
    assert len(answer.json()["errors"]) == 20
    answer = await client.post("/v1/things", content=b'{"name": "a", "%b": 1}' % (b"x" * 1500), headers=JSON)
    assert answer.json()["code"] == "unknown_field"
    assert len(answer.content) < 500


async def test_a_body_that_trickles_is_not_waited_for(client: httpx.AsyncClient) -> None:
    async def trickle() -> AsyncIterator[bytes]:
        for byte in b'{"name": "slow"}':
            yield bytes([byte])
            await asyncio.sleep(0.05)

    answer = await client.post("/v1/things", content=trickle(), headers=JSON)
    assert (answer.status_code, answer.json()["code"]) == (408, "body_too_slow")
    # Else the server would go on to wait for the rest of it.
    assert answer.headers["connection"] == "close"


async def test_a_client_that_hangs_up_is_no_error_of_ours() -> None:
    app = FastAPI()
    app.include_router(router)
    problems.install_error_handlers(app)
    provide_resources(app, ApiSettings.model_construct(max_body_bytes=LIMIT, patience_s=0.2))
    events: list[MutableMapping[str, Any]] = [
        {"type": "http.request", "body": b'{"na', "more_body": True},
        {"type": "http.disconnect"},
    ]
    sent: list[MutableMapping[str, Any]] = []

    async def receive() -> MutableMapping[str, Any]:
        return events.pop(0)

    async def send(message: MutableMapping[str, Any]) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "http_version": "1.1",
        "method": "POST",
        "path": "/v1/things",
        "query_string": b"",
        "headers": [(b"content-type", b"application/json")],
    }
    await app(scope, receive, send)
    assert sent[0]["status"] == 400
