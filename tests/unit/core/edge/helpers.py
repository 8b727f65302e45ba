"""A small application behind the edge: no database, no routes of Vigie's."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
from fastapi import FastAPI, Request
from fastapi.responses import StreamingResponse

from app.core import problems
from app.core.auth import _PRINCIPAL
from app.core.edge.install import install
from app.core.reach import EVERYTHING, NOBODY, Caller, current_caller, work_for
from app.core.settings import Settings

BOOTSTRAP = "a-bootstrap-key-of-mine"


def behind_the_edge(gate: asyncio.Event | None = None, **api: Any) -> FastAPI:  # noqa: ANN401 (settings)
    """The application. `/v1/good` knows its caller; `/v1/slow` and `/v1/stream` tell `begun`, and wait."""
    app = FastAPI()
    app.state.settings = Settings.model_validate({"api": api, "bootstrap_admin_key": BOOTSTRAP})
    app.state.begun = asyncio.Queue()
    problems.install(app)
    install(app, app.state.settings)

    @app.get("/v1/any")
    @app.post("/v1/telemetry")
    @app.get("/healthz")
    async def answer() -> dict[str, str]:
        return {}

    @app.get("/v1/good")
    async def good(request: Request) -> dict[str, str]:
        request.scope[_PRINCIPAL] = object()
        return {}

    @app.get("/v1/works-for")
    async def works_for() -> bool:
        """Whether it works for somebody; it does from then on."""
        before = current_caller()
        work_for(Caller(EVERYTHING))
        return before != NOBODY

    @app.get("/v1/slow")
    async def slow() -> dict[str, str]:
        assert gate is not None
        app.state.begun.put_nowait(None)
        await gate.wait()
        return {}

    @app.get("/v1/stream")
    async def stream() -> StreamingResponse:
        async def blocks() -> AsyncIterator[bytes]:
            yield b": here\n\n"
            app.state.begun.put_nowait(None)
            if gate is not None:
                await gate.wait()

        return StreamingResponse(blocks(), media_type="text/event-stream")

    @app.get("/v1/fails")
    async def fails() -> dict[str, str]:
        raise RuntimeError("nobody foresaw it")

    return app


def client_at(app: FastAPI, key: str | None = None, address: str = "192.0.2.7") -> httpx.AsyncClient:
    """A client with a key and an address."""
    headers = {} if key is None else {"Authorization": f"Bearer {key}"}
    transport = httpx.ASGITransport(app, client=(address, 40_000))
    return httpx.AsyncClient(transport=transport, base_url="http://vigie.test", headers=headers)
