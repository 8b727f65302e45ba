import asyncio
import threading
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from app.platform.http.contract.openapi_document import serve_openapi_document

PATIENCE_S = 60.0


@pytest.fixture
def app() -> FastAPI:
    made = FastAPI(title="Tests")

    @made.get("/other")
    async def other() -> str:
        return "answered"

    serve_openapi_document(made)
    return made


@pytest.fixture
async def client(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://vigie.test") as made:
        yield made


async def test_other_calls_are_answered_while_it_is_made(
    app: FastAPI, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, answered, count = threading.Event(), threading.Event(), 0

    def make() -> dict[str, Any]:
        nonlocal count
        count += 1
        begun.set()
        assert answered.wait(PATIENCE_S)
        return {"openapi": "3.1.0", "info": {"title": "É"}}

    monkeypatch.setattr(app, "openapi", make)
    async with asyncio.TaskGroup() as calls:
        given_up = calls.create_task(client.get("/openapi.json"))
        both = [calls.create_task(client.get("/openapi.json")) for _ in range(2)]
        await asyncio.to_thread(begun.wait, PATIENCE_S)
        given_up.cancel()
        assert (await client.get("/other")).json() == "answered"
        answered.set()
    assert [(await call).json() for call in both] == [make(), make()]
    assert (await client.get("/openapi.json")).json() == make()
    assert count == 1 + 3


async def test_who_has_it_is_not_sent_it_again(client: httpx.AsyncClient) -> None:
    plain = await client.get("/openapi.json", headers={"Accept-Encoding": "identity"})
    assert "/other" in plain.json()["paths"]
    assert plain.headers["content-type"] == "application/json"
    zipped = await client.get("/openapi.json")
    assert zipped.json() == plain.json()
    known = {"If-None-Match": zipped.headers["etag"]}
    assert (await client.get("/openapi.json", headers=known)).status_code == 304
    assert zipped.headers["vary"] == "Accept-Encoding"
