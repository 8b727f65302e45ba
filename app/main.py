"""The composition root of the REST role: which routers there are, and what they stand on."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from functools import partial

from fastapi import Depends, FastAPI, Request
from fastapi.responses import JSONResponse
from fastapi_offline import FastAPIOffline
from starlette.middleware import Middleware

from app import __version__
from app.acoustic_sources.router import router as acoustic_sources
from app.alerts.routers import routers as alerts
from app.alerts.service import close_alerts
from app.audit.refusals import RefusalsMiddleware
from app.audit.router import router as audit
from app.city.router import router as indices
from app.core import header_docs, problems
from app.core.auth import known_principal
from app.core.body_guard import ForbiddenContentError
from app.core.database import TRANSIENT, Database
from app.core.docs_page import add_docs
from app.core.edge.install import install
from app.core.edge.lines import SAMPLES_CONNECTIONS
from app.core.export_turns import ExportTurns
from app.core.installation import Installation, end_soon
from app.core.keys import SESSION_PREFIX
from app.core.methods import LiteralPaths
from app.core.observability import get_logger
from app.core.origin import OriginMiddleware
from app.core.parameters import known_parameters_only
from app.core.reach import reaching_everything
from app.core.readiness import Probe
from app.core.sealing import Sealer
from app.core.service_router import router as service
from app.core.settings import Settings
from app.incidents.router import router as incidents
from app.ingest.allowances import Allowances
from app.ingest.pipeline import Pipeline
from app.ingest.registry import Registry
from app.ingest.replay_router import router as replays
from app.ingest.router import router as telemetry
from app.installation.mail_tests import TestCounter
from app.installation.router import router as installation
from app.observations.exports.parquet import Encoders
from app.observations.routers import routers as observations
from app.people.context import People
from app.people.routers import routers as people
from app.register.context import RegisterContext
from app.register.routers import routers as register
from app.reports.printing import Printers
from app.reports.router import router as reports
from app.rights.routers import routers as rights
from app.rules.routers import routers as rules
from app.sites.bootstrap import bootstrap
from app.sites.door_refusals import count_at_rest
from app.sites.quotas import QuotaExceededError, count_refusal
from app.sites.routers import routers as sites
from app.webhooks.events_router import describe_events
from app.webhooks.events_router import router as event_types
from app.webhooks.loops import NoLoops
from app.webhooks.routers import routers as webhooks
from app.webhooks.stream_hub import Hub
from app.webhooks.stream_router import router as stream

_DESCRIPTION = """
Smart- and safe-city measurements: boxes send them by MQTT or HTTP, rules watch them, alerts go out as signed
webhooks, by e-mail, by MQTT, and as a stream of events.

**To begin**: press *Authorize*, give an API key (`vg_…`; `make run` prints the demo's) or the token of
`POST /v1/sessions`, then try `GET /v1/sites`. Lists come in pages: give `next` back as `cursor`. Errors are
`application/problem+json` (RFC 9457); match on their `code`.
"""
_log = get_logger(__name__)
_TAGS = [
    {"name": "Organisations", "description": "Tenants, and the API keys that speak for them"},
    {"name": "Sign-in", "description": "People who sign in, and who is calling"},
    {"name": "Members", "description": "Who belongs to an organisation, as what, and who is invited"},
    {"name": "Sites", "description": "Where boxes stand; a site's time zone says what a day is"},
    {"name": "Boxes", "description": "Connected boxes and their MQTT credentials"},
    {"name": "Enrolment", "description": "Boxes registered without an API key: claims, provisioning"},
    {"name": "Purposes", "description": "What each site measures for, by what right, until when"},
    {"name": "Metrics", "description": "What can be measured: units and bounds"},
    {
        "name": "Acoustic sources",
        "description": "Firearms, and what sounds like them: what boxes say that they heard",
    },
    {"name": "Telemetry", "description": "Ingest by HTTP, for boxes and gateways"},
    {"name": "Readings", "description": "What was measured: latest values, series, events"},
    {
        "name": "Indices",
        "description": "Indices of air, noise, rooms and odours, computed of what was measured",
    },
    {"name": "Reports", "description": "A site's day or month for people, as HTML or PDF"},
    {"name": "Rules", "description": "Thresholds that make alerts"},
    {"name": "Alerts", "description": "What fires now, what fired before"},
    {"name": "Incidents", "description": "Impulsive sounds that several boxes heard, and their review"},
    {"name": "Event stream", "description": "What is told, as it happens, over a connection that you open"},
    {"name": "Webhooks", "description": "Signed deliveries to your own systems, with their log and replay"},
    {
        "name": "Channels",
        "description": "Alerts by e-mail, by MQTT, and to chat, paging and Alertmanager",
    },
    {"name": "Quarantine", "description": "What was refused at a door, and why"},
    {
        "name": "Audit",
        "description": "Who did what, and who saw whose data; in a chain that shows each change",
    },
    {
        "name": "Public register",
        "description": "What is measured where, why and by what right: for everybody, without a key",
    },
    {
        "name": "People's rights",
        "description": "Requests for access, objections and the like, by anybody",
    },
    {"name": "Settings", "description": "The mail server and the public address of this installation"},
    {"name": "Service", "description": "Health and metrics of this installation"},
]


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    settings: Settings = app.state.settings
    database = Database(settings.database, application="vigie-api", role="vigie_api", tenants=True)
    app.state.database = database
    app.state.bootstrap_key = (
        settings.bootstrap_admin_key.get_secret_value() if settings.bootstrap_admin_key else None
    )
    app.state.sealer = Sealer.of(settings.encryption)
    app.state.installation = await Installation.of(settings, app.state.sealer, database)
    app.state.mail_tests = TestCounter()
    app.state.people = People.of(settings, database, app.state.installation)
    app.state.authenticators = {SESSION_PREFIX: app.state.people.sessions.authenticate}
    if not app.state.sealer.ready:
        _log.warning("no_encryption_key", setting="VIGIE_ENCRYPTION__KEYS")
    app.state.probe = Probe(settings, database)
    app.state.pipeline = Pipeline(Registry(), allowances=Allowances(settings.quotas.samples_per_day))
    app.state.close_alerts = close_alerts
    app.state.ingest_pool = await database.pool(size=SAMPLES_CONNECTIONS, eager=False, role="vigie_ingest")
    app.state.stream_hub = await Hub.of(settings.api, database, app.state.installation)
    app.state.export_turns = ExportTurns()
    app.state.parquet_encoders = Encoders()
    app.state.printers = Printers()
    app.state.register = await RegisterContext.of(database, settings.public_register, settings.api.base_url)
    ending = asyncio.Event()
    following = asyncio.create_task(app.state.installation.follow(database, ending))
    beginning: asyncio.Task[None] | None = None
    try:
        # A database that is away or not migrated is for `/readyz` to tell: a process that is gone cannot.
        if not await _begin(database, app.state.bootstrap_key):
            beginning = asyncio.create_task(_begin_later(database, app.state.bootstrap_key))
        yield
    finally:
        ending.set()
        await end_soon([following])
        if beginning is not None:
            beginning.cancel()
            await asyncio.gather(beginning, return_exceptions=True)
        await app.state.stream_hub.close()
        await app.state.register.close()
        await app.state.ingest_pool.close()
        await database.close()


async def _begin(database: Database, key: str | None) -> bool:
    """Make the platform's organisation and key where they are missing; False while the database cannot."""
    try:
        with reaching_everything():
            async with database.write() as session:
                await bootstrap(session, key, datetime.now(UTC))
    except TRANSIENT as error:
        _log.warning("waiting_for_the_database", error=type(error).__name__)
        return False
    return True


async def _begin_later(database: Database, key: str | None) -> None:
    pause_s = 0.5
    while True:
        await asyncio.sleep(pause_s)
        if await _begin(database, key):
            return
        pause_s = min(pause_s * 2, 10.0)


async def _over_quota(request: Request, error: Exception) -> JSONResponse:
    """Count what a quota refused, once its own transaction is rolled back, and say so."""
    assert isinstance(error, QuotaExceededError)  # noqa: S101 (registered for this class alone)
    await count_refusal(request.app.state.database, error, datetime.now(UTC))
    return problems.problem_of(error)


async def _forbidden(request: Request, error: Exception) -> JSONResponse:
    """Count what must never enter, once its own transaction is rolled back, and say so."""
    assert isinstance(error, ForbiddenContentError)  # noqa: S101 (registered for this class alone)
    path = request.path_params
    await count_at_rest(
        request.app.state.database,
        error.code,
        known_principal(request.scope),
        site=path.get("site_id"),
        box=path.get("box"),
        now=datetime.now(UTC),
    )
    return problems.problem_of(error)


def create_app(settings: Settings) -> FastAPI:
    """Build the REST application. Its lifespan connects to the database."""
    # Swagger UI from the application's own files: operators' networks are often closed, and a documentation
    # page that loads scripts from elsewhere tells elsewhere who reads it.
    app = FastAPIOffline(
        title="Vigie",
        version=__version__,
        description=_DESCRIPTION,
        openapi_tags=_TAGS,
        lifespan=_lifespan,
        dependencies=[Depends(known_parameters_only)],
        # A redirect would go to whatever host the request names.
        redirect_slashes=False,
        license_info={"name": "Apache 2.0", "identifier": "Apache-2.0"},
        # Its pages are ours, with a Content-Security-Policy of their own; its files stay.
        docs_url=None,
        redoc_url=None,
        contact={"name": "The operator of this installation"},
        servers=[{"url": "/", "description": "This installation"}],
        swagger_ui_parameters={"persistAuthorization": True, "displayRequestDuration": True, "filter": True},
    )
    app.state.settings = settings
    problems.install(app)
    app.add_exception_handler(QuotaExceededError, _over_quota)
    app.add_exception_handler(ForbiddenContentError, _forbidden)
    install(
        app,
        settings,
        inside=[
            Middleware(NoLoops),
            Middleware(LiteralPaths),
            Middleware(OriginMiddleware),
            Middleware(RefusalsMiddleware),
        ],
    )
    ingest = (telemetry, *observations, indices, reports, replays)
    routers = (
        *sites,
        acoustic_sources,
        *people,
        *ingest,
        *rules,
        *alerts,
        incidents,
        *webhooks,
        event_types,
        stream,
        *rights,
        audit,
        installation,
        *register,
        service,
    )
    for router in routers:
        app.include_router(router)
    describe_events(app.webhooks)
    add_docs(app)
    problems.describe(app, partial(header_docs.describe, app))
    return app
