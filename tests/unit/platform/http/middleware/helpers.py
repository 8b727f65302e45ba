"""A small application behind the edge: no database, no routes of Vigie's."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from typing import Any
from unittest.mock import Mock
from uuid import uuid4

import httpx
from fastapi import Depends, FastAPI, Request
from fastapi.responses import StreamingResponse

from app.platform.http.contract import problems
from app.platform.http.middleware.middleware_order import install_middleware
from app.platform.identity.caller_authentication import (
    CallerAuthenticator,
    Principal,
    current_principal,
)
from app.platform.kernel.application_resources import provide_resources
from app.platform.kernel.errors import UnauthorisedError
from app.platform.kernel.tenant_scope import (
    FULL_SCOPE,
    NO_CALLER,
    ScopedCaller,
    TenantScope,
    current_caller,
    set_current_caller,
)
from app.settings import VigieSettings

BOOTSTRAP = "a-bootstrap-key-of-mine"


def behind_the_edge(
    gate: asyncio.Event | None = None,
    *,
    open_paths: Sequence[str] = (),
    **api: Any,  # noqa: ANN401 (settings)
) -> FastAPI:
    """The application. `/v1/good` asks for its caller; `/v1/slow` and `/v1/stream` tell `begun`, and wait."""
    app = FastAPI()
    settings = VigieSettings.model_validate({"api": api, "bootstrap_admin_key": BOOTSTRAP})
    provide_resources(app, settings.api)
    app.state.begun = asyncio.Queue()
    problems.install_error_handlers(app)
    install_middleware(app, settings, open_paths=open_paths)

    @app.get("/v1/any")
    @app.post("/v1/telemetry")
    @app.get("/healthz")
    async def answer() -> dict[str, str]:
        return {}

    with_callers(app, gate)

    @app.get("/v1/works-for")
    async def works_for() -> bool:
        """Whether it works for somebody; it does from then on."""
        before = current_caller()
        set_current_caller(ScopedCaller(FULL_SCOPE))
        return before != NO_CALLER

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


def with_callers(app: FastAPI, gate: asyncio.Event | None) -> None:
    """Routes that ask whom a key speaks for; each for an organisation of its own, or as `whose` says."""
    app.state.whose = {}
    app.state.lookups = Counter()
    app.state.running = Counter()
    app.state.most = 0

    async def caller(token: str, _: datetime) -> Principal:
        app.state.lookups[token] += 1
        organisation, integrator = app.state.whose.setdefault(token, (uuid4(), None))
        if organisation is None:
            raise UnauthorisedError("It was revoked.")
        reach = TenantScope.of([organisation])
        return Principal(
            uuid4(),
            organisation,
            platform=False,
            scopes=frozenset(),
            tenant_scope=reach,
            integrator_id=integrator,
        )

    provide_resources(app, CallerAuthenticator(Mock(spec=[]), None, {"": caller}))

    @app.get("/v1/good", dependencies=[Depends(current_principal)])
    async def good() -> dict[str, str]:
        return {}

    @app.get("/v1/busy", dependencies=[Depends(current_principal)])
    @app.post("/v1/adapters/busy", dependencies=[Depends(current_principal)])
    async def busy(request: Request) -> dict[str, str]:
        """Runs until the gate is open; `running` counts by key, `most` all of them."""
        assert gate is not None
        key = request.headers["authorization"]
        app.state.running[key] += 1
        app.state.most = max(app.state.most, app.state.running.total())
        await gate.wait()
        app.state.running[key] -= 1
        return {}


def client_at(app: FastAPI, key: str | None = None, address: str = "192.0.2.7") -> httpx.AsyncClient:
    """A client with a key and an address."""
    headers = {} if key is None else {"Authorization": f"Bearer {key}"}
    transport = httpx.ASGITransport(app, client=(address, 40_000))
    return httpx.AsyncClient(transport=transport, base_url="http://vigie.test", headers=headers)
