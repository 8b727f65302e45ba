"""The edge before the whole API: what strangers, operators and browsers are told."""

import base64
import hashlib
import json
import logging
import re
from dataclasses import replace
from unittest.mock import Mock

import httpx
import pytest
import structlog
from fastapi import FastAPI

from app.platform.config.platform_settings import LogSettings
from app.platform.db.database import Database
from app.platform.identity.caller_authentication import CallerAuthenticator
from app.platform.kernel.application_resources import get_resource, provide_resources
from app.platform.kernel.secret_tokens import generate_key
from app.platform.observability.metrics_and_logs import configure_logging
from app.settings import VigieSettings
from tests.conftest import Tenant, client_of, new_application, running

TOKEN = "a-token-for-prometheus"


def at(app: FastAPI, address: str, **headers: str) -> httpx.AsyncClient:
    transport = httpx.ASGITransport(app, client=(address, 40_000))
    return httpx.AsyncClient(transport=transport, base_url="http://vigie.test", headers=headers)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/nowhere", 404),
        ("TRACE", "/v1/sites", 405),
        ("TRACE", "/nowhere", 404),
        ("OPTIONS", "/v1/sites", 405),
        ("BREW", "/v1/sites", 405),
        ("GET", "/v1/sites/", 404),
        ("GET", "//v1/sites", 404),
        ("GET", "/v1/%00", 404),
        ("POST", "/static-offline-docs/favicon.png", 405),
        ("GET", "/static-offline-docs/%2e%2e/core.py", 404),
        ("PUT", "/docs", 405),
    ],
)
async def test_what_there_is_not_is_a_problem(tenant: Tenant, method: str, path: str, status: int) -> None:
    answer = await tenant.client.request(method, path)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["request_id"] == answer.headers["x-request-id"]
    assert ("allow" in answer.headers) is (status == 405)


async def test_405_names_all_that_the_path_has(tenant: Tenant) -> None:
    for path, methods in (
        ("/v1/sites", "GET, HEAD, POST"),
        ("/v1/sites/x", "GET, HEAD, PATCH, DELETE"),
        ("/v1/boxes/x/config", "GET, HEAD, PUT, DELETE"),
        ("/v1/telemetry", "POST"),
    ):
        assert (await tenant.client.request("TRACE", path)).headers["allow"] == methods


async def test_a_good_key_takes_nothing_from_its_address_and_head_needs_a_key(
    settings: VigieSettings, admin_key: str
) -> None:
    few = settings.api.model_copy(update={"anonymous_rate_per_s": 0.001, "anonymous_rate_burst": 2})
    async with running(new_application(settings.model_copy(update={"api": few}))) as app:
        async with client_of(app, admin_key) as admin:
            key = (await admin.post("/v1/api-keys", json={"name": "a", "scopes": ["*"]})).json()["key"]
        async with client_of(app, key) as client:
            for _ in range(4):
                assert (await client.get("/v1/sites")).status_code == 200
            head = await client.head("/v1/sites")
            assert (head.status_code, head.content) == (200, b"")
        async with client_of(app, None) as stranger:
            assert (await stranger.head("/v1/sites")).status_code == 401
        async with client_of(app, generate_key()) as stranger:
            assert [(await stranger.get("/v1/sites")).status_code for _ in range(2)] == [401, 429]


async def test_the_log_has_the_id_of_the_request(
    application: FastAPI, admin_key: str, capsys: pytest.CaptureFixture[str]
) -> None:
    root = logging.getLogger()
    handlers, level, before = root.handlers[:], root.level, structlog.get_config()
    configure_logging(get_resource(application, LogSettings), role="tests")
    try:
        await get_resource(application, Database).close()
        authenticator = get_resource(application, CallerAuthenticator)
        provide_resources(application, replace(authenticator, database=Mock(spec=[])))
        async with client_of(application, admin_key) as client:
            answer = await client.get("/v1/sites", headers={"X-Request-Id": "from-the-client"})
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)
        structlog.configure(**before)
    assert (answer.status_code, answer.json()["code"]) == (500, "internal")
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines() if line.startswith("{")]
    (line,) = [line for line in lines if line["event"] == "unexpected_error"]
    assert line["request_id"] == answer.json()["request_id"] == "from-the-client"


async def test_without_a_token_metrics_are_for_this_machine(application: FastAPI) -> None:
    for address in ("127.0.0.1", "::1", "::ffff:127.0.0.1"):
        async with at(application, address) as here:
            assert (await here.get("/metrics")).status_code == 200
    async with at(application, "127.0.0.1", **{"X-Forwarded-For": "192.0.2.7"}) as proxy:
        assert (await proxy.get("/metrics")).json()["code"] == "operators_only"
    async with at(application, "192.0.2.7") as elsewhere:
        answer = await elsewhere.get("/metrics")
        assert (answer.status_code, answer.json()["code"]) == (403, "operators_only")
        ready = (await elsewhere.get("/readyz")).json()["dependencies"]
    async with at(application, "127.0.0.1") as here:
        told = (await here.get("/readyz")).json()["dependencies"]
    assert {name: entry["state"] for name, entry in ready.items()} == {
        name: entry["state"] for name, entry in told.items()
    }
    assert not any(entry["detail"] for entry in ready.values())
    assert told["ingest"]["detail"] == "not running"


async def test_with_a_token_metrics_are_for_who_has_it(settings: VigieSettings) -> None:
    api = settings.api.model_validate({**settings.api.model_dump(), "metrics_token": TOKEN})
    async with running(new_application(settings.model_copy(update={"api": api}))) as app:
        async with at(app, "192.0.2.7", Authorization=f"Bearer {TOKEN}") as prometheus:
            assert (await prometheus.get("/metrics")).status_code == 200
            assert (await prometheus.get("/readyz")).json()["dependencies"]["ingest"]["detail"]
        for headers in ({}, {"Authorization": "Bearer another-token"}):
            async with at(app, "127.0.0.1", **headers) as here:
                answer = await here.get("/metrics")
                assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")


async def test_the_documentations_policy_names_its_script_and_nothing_else(api: httpx.AsyncClient) -> None:
    page = await api.get("/docs")
    policy = dict(
        part.strip().split(" ", 1) for part in page.headers.get_list("content-security-policy")[0].split(";")
    )
    inline = re.findall(r"<script>(.*?)</script>", page.text, re.DOTALL)
    hashes = [base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in inline]
    assert policy["script-src"] == " ".join(["'self'", *(f"'sha256-{each}'" for each in hashes)])
    assert policy["default-src"] == "'none'"
    assert policy["frame-ancestors"] == "'none'"
    # Whatever else it loads is ours.
    loaded = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    assert loaded
    for address in loaded:
        assert address.startswith(("/static-offline-docs/", "/favicon."))
        assert (await api.get(address)).status_code == 200
