"""Real services for the tests: a private PostgreSQL with TimescaleDB and a private Mosquitto, both started
here on free ports and in temporary folders; each test that asks for a database gets a fresh copy of a
migrated one."""

import asyncio
import gc
import json
import os
import shutil
import signal
import tempfile
import time
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import hypothesis
import psutil
import pytest
import structlog
from fastapi import FastAPI
from starlette.routing import BaseRoute

from app.platform.db.database import Database
from app.platform.db.schema_upgrade import upgrade
from app.platform.kernel.secret_tokens import generate_key
from app.platform.secrets.sealing import generate_encryption_key
from app.processes.api_application import create_app
from app.settings import VigieSettings
from app.standalone.private_mosquitto import PrivateMosquitto
from app.standalone.private_postgres import DATABASE, PrivatePostgres
from app.standard_apis import reader_access
from tests import nursery, once, shifted_clock
from tests.databases import Databases

_LEAST_OF_HOUR_S = 15
"""Before an hour ends by less than this, a test waits for the next one."""

_MEMORY = Path("/dev/shm")  # noqa: S108  # each session makes folders of its own there
_ROOM_BYTES = 6 * 2**30
STREET = {
    "name": "Rue d'Alsace-Lorraine",
    "kind": "street",
    "timezone": "Europe/Paris",
    "location": {"type": "Point", "coordinates": [1.445317, 43.604529]},
}
ACCOUNTS = {"gateway": "gateway-password", "ingest": "ingest-password"}


def pytest_configure() -> None:
    """Log errors plainly: coloured ones with all variables take a second each.

    And let temporary files live in memory where there is plenty: a database alone has six hundred.
    """
    plain = structlog.dev.ConsoleRenderer(colors=False, exception_formatter=structlog.dev.plain_traceback)
    *others, _ = structlog.get_config()["processors"]
    structlog.configure(processors=[*others, plain])
    # How long an example takes is the machine's matter.
    patient = {"deadline": None, "suppress_health_check": [hypothesis.HealthCheck.too_slow]}
    hypothesis.settings.register_profile("tests", hypothesis.settings(), **patient)  # on what CI asks for
    hypothesis.settings.load_profile("tests")
    once.share()
    # The default of five seconds is as long as a machine of CI may stall.
    for client in (httpx.AsyncClient, httpx.Client):
        initialise: Any = client.__init__
        initialise.__kwdefaults__["timeout"] = httpx.Timeout(15)
    # So are the ten seconds of a query.
    setattr(reader_access, "BUDGET_S", 60.0)  # noqa: B010 (it is final for all others)
    # It has no certificate, as each of its connections would have to find out.
    os.environ.setdefault("PGSSLMODE", "disable")
    if "TMPDIR" in os.environ or not os.access(_MEMORY, os.W_OK):
        return
    if min(shutil.disk_usage(_MEMORY).free, psutil.virtual_memory().available) >= _ROOM_BYTES:
        os.environ["TMPDIR"] = str(_MEMORY)
        tempfile.tempdir = None


# A worker runs a file whole. So the longest files come first, then folders whose tests run whole processes:
# short files come last, and fill the gaps.
_LONGEST = (
    "openapi/test_fuzz.py",
    "scenarios/test_guide_commands.py",
    "faults/test_full_disk.py",
    "faults/test_dates.py",
    # They mostly wait for elections, beside files that compute.
    "message_log/test_rabbitmq_log.py",
    "message_log/test_jetstream_log.py",
)
_LONG = (
    *("standalone", "bench", "simulators", "faults", "scenarios", "openapi", "access"),
    *("backups", "edge", "message_log", "server_installation"),
)


def _rank(path: Path) -> int:
    *folders, name = path.parts
    if (file := f"{folders[-1]}/{name}") in _LONGEST:
        return _LONGEST.index(file)
    return len(_LONGEST) + (not any(part in _LONG for part in folders[-2:]))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the longest files: no worker is left alone with one at the end."""
    items.sort(key=lambda item: _rank(item.path))


def pytest_collection_finish() -> None:
    """Spare the collector what is there for good: all modules and all tests, at each of its rounds."""
    gc.collect()
    gc.freeze()


def pytest_sessionfinish() -> None:
    """The same when pytest looks for what was left behind: it does so five times."""
    gc.collect()
    gc.freeze()


@dataclass(frozen=True)
class Tenant:
    """A client with an organisation's key, and that organisation."""

    client: httpx.AsyncClient
    id: str
    key: str


@pytest.fixture(scope="module", autouse=True)
def _spared_collector() -> Iterator[None]:
    """Spare the collector what a file of tests leaves: its rounds stop the loop, for a second and more."""
    yield
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def _within_one_hour() -> None:
    """Begin no test just before an hour ends: what it does would count in two hours, days or months."""
    left_s = 3600 - time.time() % 3600
    if left_s < _LEAST_OF_HOUR_S:
        time.sleep(left_s)


@pytest.fixture(scope="session", autouse=True)
def _nursery() -> Iterator[None]:
    yield
    nursery.close()


@pytest.fixture(scope="session")
async def postgres(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[PrivatePostgres]:
    folder = tmp_path_factory.mktemp("postgres")
    async with PrivatePostgres(folder, durable=False, environment=shifted_clock.inherited()) as server:
        settings = VigieSettings.model_validate({"database": {"url": server.url}})
        await asyncio.to_thread(upgrade, settings.database)
        yield server
        # In good order it would write a thousand databases to disk first, to throw them away.
        os.kill(server.pid, signal.SIGQUIT)


@pytest.fixture(scope="session")
async def mosquitto(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[PrivateMosquitto]:
    async with PrivateMosquitto(tmp_path_factory.mktemp("mosquitto"), accounts=ACCOUNTS) as broker:
        yield broker


@asynccontextmanager
async def stocked(postgres: PrivatePostgres, name: str) -> AsyncIterator[Databases]:
    """Copies of a database, made and cleaned beside the tests."""
    made = Databases(postgres, name)
    stocking = asyncio.create_task(made.stock())
    yield made
    stocking.cancel()
    await asyncio.wait({stocking})


@pytest.fixture(scope="session")
async def databases(postgres: PrivatePostgres) -> AsyncIterator[Databases]:
    # A copy is copied, for while it is nobody may connect to it: tests do connect to the original.
    await postgres.create_database("pattern")
    async with stocked(postgres, "pattern") as made:
        yield made


@dataclass(frozen=True)
class Settlement:
    """What most tests begin with, and the databases that have it: without the site, and with it."""

    tenant_id: str
    key: str
    site_id: str
    databases: Databases
    with_site: Databases


@pytest.fixture(scope="session")
async def settlement(postgres: PrivatePostgres, admin_key: str) -> AsyncIterator[Settlement]:
    """Ask the API for it once, instead of for each test."""

    @asynccontextmanager
    async def made_in(name: str, template: str) -> AsyncIterator[tuple[FastAPI, httpx.AsyncClient]]:
        url = await postgres.create_database(name, template=template)
        settings = VigieSettings.model_validate({"database": {"url": url}, "bootstrap_admin_key": admin_key})
        async with running(new_application(settings)) as app, client_of(app, admin_key) as admin:
            yield app, admin

    async with made_in("settled", DATABASE) as (app, admin), new_tenant(app, admin, "Tenant") as tenant:
        pass
    async with made_in("settled_with_site", "settled") as (app, _), client_of(app, tenant.key) as client:
        site_id = (await client.post("/v1/sites", json=STREET)).raise_for_status().json()["id"]
    async with stocked(postgres, "settled") as plain, stocked(postgres, "settled_with_site") as with_site:
        yield Settlement(tenant.id, tenant.key, site_id, plain, with_site)


@pytest.fixture
def stock(request: pytest.FixtureRequest, databases: Databases, settlement: Settlement) -> Databases:
    """The databases that have what the test asks for."""
    if "tenant" not in request.fixturenames:
        return databases
    return settlement.with_site if "site_id" in request.fixturenames else settlement.databases


@pytest.fixture
async def database_url(stock: Databases) -> AsyncIterator[str]:
    """The address of a migrated database; of tenants and sites it has those that are asked for."""
    async with asyncio.timeout(60):
        url = await stock.take()
    yield url
    stock.give_back(url)


@pytest.fixture(scope="session")
def admin_key() -> str:
    return generate_key()


@pytest.fixture
def settings(
    database_url: str, mosquitto: PrivateMosquitto, admin_key: str, monkeypatch: pytest.MonkeyPatch
) -> VigieSettings:
    """Settings for this test's database and the session's broker; child processes find them too."""
    environment = {
        "VIGIE_DATABASE__URL": database_url,
        "VIGIE_BROKER__HOST": mosquitto.host,
        "VIGIE_BROKER__PORT": str(mosquitto.port),
        "VIGIE_BROKER__USERNAME": "ingest",
        "VIGIE_BROKER__PASSWORD": ACCOUNTS["ingest"],
        "VIGIE_BROKER__PASSWORD_FILE": str(mosquitto.password_file),
        "VIGIE_BROKER__STATIC_PASSWORD_FILE": str(mosquitto.static_password_file),
        "VIGIE_BROKER__PID_FILE": str(mosquitto.pid_file),
        "VIGIE_WEBHOOKS__ALLOW_PRIVATE": "true",
        # Children that are roles log in as the owner, and take their roles afterwards.
        "VIGIE_ALLOW_INSECURE": '["webhooks_private", "database_owner"]',
        "VIGIE_ENCRYPTION__KEYS": json.dumps([generate_encryption_key()]),
        "VIGIE_BOOTSTRAP_ADMIN_KEY": admin_key,
        # Each test's consumer has a session of its own on the shared broker.
        "VIGIE_INGEST__CLIENT_ID": f"ingest-{uuid.uuid4().hex[:8]}",
    }
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    return VigieSettings(_env_file=None)


@pytest.fixture
async def database(settings: VigieSettings) -> AsyncIterator[Database]:
    opened = Database(settings.database, application="tests")
    yield opened
    await opened.close()


@asynccontextmanager
async def running(app: FastAPI) -> AsyncIterator[FastAPI]:
    """An application between its start-up and its shutdown."""
    async with app.router.lifespan_context(app):
        yield app


def client_of(app: FastAPI, key: str | None) -> httpx.AsyncClient:
    """A client that speaks to the application directly, with a key."""
    headers = {} if key is None else {"Authorization": f"Bearer {key}"}
    # An error that the application does not handle is an answer (500) like any other.
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    return httpx.AsyncClient(transport=transport, base_url="http://vigie.test", headers=headers)


_routes: list[BaseRoute] = []


def new_application(settings: VigieSettings) -> FastAPI:
    """What `create_app` makes, with routes that may have served before: to build them all takes a while.

    They hold no state, and know no settings; the application around them does, and is a new one.
    """
    app = create_app(settings)
    _routes.extend(app.router.routes if not _routes else ())
    app.router.routes = _routes
    return app


@pytest.fixture
async def application(settings: VigieSettings) -> AsyncIterator[FastAPI]:
    async with running(new_application(settings)) as app:
        yield app


@pytest.fixture
async def api(application: FastAPI, admin_key: str) -> AsyncIterator[httpx.AsyncClient]:
    """The API, as the platform's administrator."""
    async with client_of(application, admin_key) as client:
        yield client


@asynccontextmanager
async def new_tenant(application: FastAPI, api: httpx.AsyncClient, name: str) -> AsyncIterator[Tenant]:
    """An organisation of its own, with a key for everything of it."""
    organisation = (await api.post("/v1/organisations", json={"name": name})).raise_for_status().json()
    body = {"organisation_id": organisation["id"], "name": "tests", "scopes": ["*"]}
    key = (await api.post("/v1/api-keys", json=body)).raise_for_status().json()["key"]
    async with client_of(application, key) as client:
        yield Tenant(client, organisation["id"], key)


@pytest.fixture
async def tenant(application: FastAPI, settlement: Settlement) -> AsyncIterator[Tenant]:
    async with client_of(application, settlement.key) as client:
        yield Tenant(client, settlement.tenant_id, settlement.key)


@pytest.fixture
async def other_tenant(application: FastAPI, api: httpx.AsyncClient) -> AsyncIterator[Tenant]:
    async with new_tenant(application, api, "Other") as made:
        yield made


@pytest.fixture
def site_id(tenant: Tenant, settlement: Settlement) -> str:  # noqa: ARG001 (whose it is)
    """A street of the tenant's, in Toulouse."""
    return settlement.site_id


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path
