"""Builds the REST application: its routers, middleware, error handlers and shared resources."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from functools import partial
from operator import attrgetter
from typing import Any, Final

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from fastapi_offline import FastAPIOffline
from pydantic import BaseModel
from starlette.middleware import Middleware

from app import (
    __version__,
    all_metrics,  # noqa: F401 (the process exports all metrics)
)
from app.alerts.service import close_alerts
from app.alerts.stored_sample_rates import StoredSampleRates
from app.audit.audit_recorder import RefusalRecorder
from app.cluster_status.log_monitor import LogMonitor
from app.grants.grant_authentication import GRANT_KEY_PREFIX, make_grant_authenticator
from app.grants.grant_uses import make_grant_use_recorder
from app.ingest.http_ingest_service import HttpIngestContext
from app.ingest.pipeline.batch_pipeline import IngestPipeline
from app.ingest.pipeline.quota_cache import QuotaCache
from app.ingest.pipeline.registry_snapshot import RegistryCache
from app.installation_settings.settings_service import TestMailLimiter
from app.measurement_stream.stream_tail import MeasurementHub
from app.notifications.events.event_types_router import add_openapi_webhooks
from app.notifications.http.self_call_guard import reject_own_webhook
from app.notifications.stream.stream_wakeup_hub import StreamHub
from app.pages.built_guides import GUIDES_PATH
from app.pages.error_pages import ErrorPageMiddleware
from app.people.issued_tokens import invalidate_issued_tokens
from app.people.sign_in_dependencies import PeopleContext
from app.platform.db.alert_closer_protocol import AlertClosing
from app.platform.db.database import DATABASE_ERRORS, Database
from app.platform.db.standby_reads import StandbyReads
from app.platform.db.tenant_reader import TenantReader
from app.platform.http.contract import header_descriptions, problems
from app.platform.http.contract.forbidden_content_check import ForbiddenContentError
from app.platform.http.contract.openapi_document import serve_openapi_document
from app.platform.http.contract.remembered_arguments import ArgumentCache
from app.platform.http.fairness.concurrency_limits import SAMPLES_CONNECTIONS
from app.platform.http.fairness.fair_semaphore import ExportLimits
from app.platform.http.fairness.token_buckets import BucketStore
from app.platform.http.middleware.middleware_order import install_middleware
from app.platform.http.middleware.route_index import RouteIndex
from app.platform.http.openapi.swagger_page import add_docs_pages
from app.platform.http.streaming.stream_slots import StreamSlots
from app.platform.identity.caller_authentication import CallerAuthenticator, get_known_principal
from app.platform.identity.key_revocation_protocol import KeyRevocation
from app.platform.kernel.application_resources import get_resource, provide_resources
from app.platform.kernel.secret_tokens import SESSION_PREFIX
from app.platform.kernel.tenant_scope import run_with_full_scope
from app.platform.observability.metrics_and_logs import get_logger
from app.platform.runtime.health_router import ReadinessProbe
from app.platform.runtime.stored_settings import InstallationSettings, stop_tasks, wait_until_set
from app.platform.secrets.sealing import SecretSealer
from app.processes.routers import ROUTERS, STANDARD_APIS
from app.public_register.register_context import RegisterContext
from app.registry.box_connection_router import BoxListener
from app.registry.organisation_repository import bootstrap_platform
from app.registry.privacy_refusal_counts import count_rest_refusal
from app.registry.quota_service import OrganisationQuotaExceededError, count_quota_refusal
from app.reports.process_pool import ReportProcessPool
from app.settings import VigieSettings
from app.standard_apis.open_data_context import OpenDataContext
from app.timeseries.exports.columnar_format import ColumnarEncoderPool

_DESCRIPTION = """
Smart- and safe-city measurements. Boxes send samples and events by MQTT or HTTP, and rules evaluate them.
Alerts are delivered as signed webhooks, by e-mail, by MQTT, and as a stream of events.

**To begin**: press *Authorize* and enter an API key (`vg_…`; `make run` prints the one of the demo) or the
token of `POST /v1/sessions`. Then try `GET /v1/sites`. Lists have pages: send `next` as `cursor`. Errors are
`application/problem+json` (RFC 9457); match on their `code`. The [guides](/docs/guides) explain each part.
"""
_APPLICATION: Final = "vigie-api"
_ROLE: Final = "vigie_api"
_log = get_logger(__name__)


# The groups of operations in reading order: name, description, guide.
_TAGS = (
    ("Alerts", "Firing and resolved alerts, and their timelines", "alerts"),
    ("Readings", "Measurements: latest values, series, events", "series"),
    ("Sites", "Places with boxes. The time zone of a site defines its days", "api"),
    ("Boxes", "Connected boxes and their MQTT credentials", "boxes"),
    ("Rules", "Conditions that raise alerts", "rules"),
    ("Incidents", "Impulsive sounds that several boxes recognised, and their review", "incidents"),
    ("Indices", "Indices of air, noise, rooms and odours, computed from measurements", "indices"),
    ("Reports", "Reports on a day or month of a site, as HTML or PDF", "reports"),
    (
        "Search",
        "Sites, boxes, alerts, rules and incidents by the words of their names, or by their ids",
        "api",
    ),
    ("Webhooks", "Signed deliveries to your systems, with log and replay", "webhooks"),
    ("Channels", "Alerts by e-mail, by MQTT, and to chat, paging and Alertmanager", "channels"),
    ("Event stream", "Server-sent events in real time", "event-stream"),
    (
        "Measurement stream",
        "Samples, events, corrections and settled hours as they are committed",
        "measurement-stream",
    ),
    (
        "Measurement subscriptions",
        "Measurements to webhooks, brokers and databases as they are stored, with log and replay",
        "measurement-subscriptions",
    ),
    ("Telemetry", "Ingest by HTTP, for boxes and gateways", "boxes"),
    ("Enrolment", "Registration of boxes without an API key: claim codes, provisioning keys", "boxes"),
    ("Quarantine", "Refused messages with their rejection codes, and replays", "bad-input"),
    ("Metrics", "The catalogue of metrics, with units and bounds", "boxes"),
    (
        "Acoustic sources",
        "The catalogue of sounds that boxes recognise: firearms, and similar sounds",
        "acoustic-sources",
    ),
    ("Grants", "Revocable, dated rights of third parties to measurements", "grants"),
    ("Purposes", "Declared purposes of sites, with legal basis and duration", "purposes"),
    ("Organisations", "Tenants and their API keys", "api"),
    ("Sign-in", "Sign-in of people, and the caller of a request", "people"),
    ("Members", "Members of an organisation with their roles, and invitations", "people"),
    ("Audit", "Changes, and access to personal data, in a tamper-evident hash chain", "audit"),
    (
        "Public register",
        "Public data on sites, their purposes and legal basis; no API key needed",
        "register",
    ),
    (
        "SensorThings",
        "OGC SensorThings API 1.1, for GIS and other clients; open data need no API key",
        "sensorthings",
    ),
    (
        "OGC API",
        "OGC API Features and EDR, for GIS and weather tools; open data need no API key",
        "ogc-api",
    ),
    (
        "NGSI-LD",
        "Entities of the Smart Data Models and subscriptions to them, for context brokers",
        "ngsi-ld",
    ),
    ("People's rights", "Requests for access, objection or erasure under the GDPR", "rights"),
    ("Settings", "The mail server and the public address of this installation", "email"),
    ("Service", "Health and metrics of this installation", "operations/logs-and-health"),
)


def _tags(base_url: str) -> list[dict[str, Any]]:
    """Return the tags of the OpenAPI document, each with the address of its guide.

    The addresses are absolute, as linters demand. Swagger UI replaces the host by that of the page.
    """
    return [
        {
            "name": name,
            "description": text,
            "externalDocs": {"description": "Guide", "url": f"{base_url}{GUIDES_PATH}/{guide}"},
        }
        for name, text, guide in _TAGS
    ]


@asynccontextmanager
async def _lifespan(settings: VigieSettings, app: FastAPI) -> AsyncIterator[None]:
    """Open what the routes share, and close it in reverse."""
    async with AsyncExitStack() as opened:
        database = Database(settings.database, application=_APPLICATION, role=_ROLE, tenants=True)
        opened.push_async_callback(database.close)
        standby_reads = StandbyReads.of(database, application=_APPLICATION, role=_ROLE)
        opened.push_async_callback(standby_reads.close)
        sealer = SecretSealer.of(settings.encryption)
        if not sealer.ready:
            _log.warning("no_encryption_key", setting="VIGIE_ENCRYPTION__KEYS")
        installation = await InstallationSettings.of(settings, sealer, database)
        people = PeopleContext.of(
            settings.sessions,
            settings.oidc,
            settings.api,
            database,
            installation=installation,
            sealer=sealer,
        )
        key = settings.bootstrap_admin_key.get_secret_value() if settings.bootstrap_admin_key else None
        pool = await database.pool(size=SAMPLES_CONNECTIONS, name="samples", eager=False, role="vigie_ingest")
        opened.push_async_callback(pool.close)
        reader = await TenantReader.of(database, size=settings.database.pool_size)
        opened.push_async_callback(reader.close)
        pipeline = IngestPipeline(RegistryCache(), quota_cache=QuotaCache(settings.quotas.samples_per_day))
        ingest = HttpIngestContext(pipeline, pool)
        opened.push_async_callback(ingest.committer.close)
        register = await RegisterContext.of(database, settings.public_register, standby_reads)
        opened.push_async_callback(register.close)
        open_data = OpenDataContext.of(settings.database, application=_APPLICATION)
        opened.push_async_callback(open_data.close)
        log_monitor = LogMonitor(settings.message_log, client="api")
        opened.push_async_callback(log_monitor.close)
        stream_slots = StreamSlots(settings.api)
        stream_hub = await StreamHub.of(stream_slots, database, installation)
        opened.push_async_callback(stream_hub.close)
        measurement_hub = await MeasurementHub.of(
            stream_slots, database, keep_days=settings.measurement_stream.keep_days
        )
        opened.push_async_callback(measurement_hub.close)
        authenticator = CallerAuthenticator(
            database,
            key,
            {
                SESSION_PREFIX: people.sessions.authenticate,
                GRANT_KEY_PREFIX: make_grant_authenticator(database),
            },
        )
        database.on_access_change = authenticator.cache.clear
        provide_resources(
            app,
            database,
            reader,
            standby_reads,
            standby_reads.make_session_reads(),
            sealer,
            installation,
            people,
            authenticator,
            make_grant_use_recorder(database),
            ArgumentCache(),
            StoredSampleRates(),
            AlertClosing(close_alerts),
            KeyRevocation(invalidate_issued_tokens),
            ingest,
            register,
            open_data,
            stream_hub,
            measurement_hub,
            ExportLimits(),
            ColumnarEncoderPool(),
            ReportProcessPool(),
            ReadinessProbe(settings, database, has_edges=settings.message_log.engine != "none"),
            TestMailLimiter(),
            log_monitor,
        )
        stopping = asyncio.Event()
        following = asyncio.create_task(authenticator.cache.follow(database), name="follow-access")
        tasks = [asyncio.create_task(installation.follow(database, stopping)), following]
        opened.push_async_callback(stop_tasks, tasks)
        opened.callback(stopping.set)
        opened.callback(following.cancel)
        # Start without a database too: `/readyz` reports that it is unavailable or not migrated.
        if not await _bootstrap(database, key):
            tasks.append(asyncio.create_task(_bootstrap_later(database, key, stopping)))
        yield


async def _bootstrap(database: Database, key: str | None) -> bool:
    """Create the operator's organisation and key if missing; False if the database is unavailable."""
    try:
        with run_with_full_scope():
            async with database.write() as session:
                await bootstrap_platform(session, key, datetime.now(UTC))
    except DATABASE_ERRORS as error:
        _log.warning("waiting_for_the_database", error=type(error).__name__)
        return False
    return True


async def _bootstrap_later(database: Database, key: str | None, stopping: asyncio.Event) -> None:
    pause_s = 0.5
    while not await wait_until_set(stopping, pause_s):
        if await _bootstrap(database, key):
            return
        pause_s = min(pause_s * 2, 10.0)


async def _over_quota(request: Request, error: Exception) -> JSONResponse:
    """Count a refusal by a quota after its transaction was rolled back, and respond."""
    assert isinstance(error, OrganisationQuotaExceededError)  # noqa: S101 (registered for this class alone)
    await count_quota_refusal(get_resource(request.app, Database), error, datetime.now(UTC))
    return problems.make_error_response(error)


async def _forbidden(request: Request, error: Exception) -> JSONResponse:
    """Count forbidden content after its transaction was rolled back, and respond."""
    assert isinstance(error, ForbiddenContentError)  # noqa: S101 (registered for this class alone)
    path = request.path_params
    await count_rest_refusal(
        get_resource(request.app, Database),
        error.code,
        get_known_principal(request.scope),
        site=path.get("site_id"),
        box=path.get("box"),
        now=datetime.now(UTC),
    )
    return problems.make_error_response(error)


def create_app(settings: VigieSettings, *, buckets: BucketStore | None = None) -> FastAPI:
    """Build the REST application. Its lifespan connects to the database.

    Args:
        settings: The settings.
        buckets: Where the buckets of the rate limits are, if several processes serve the API.
    """
    # Swagger UI is served from our own files: networks of operators are often closed, and scripts from
    # another host would reveal readers to it.
    app = FastAPIOffline(
        title="Vigie",
        version=__version__,
        description=_DESCRIPTION,
        openapi_tags=_tags(settings.api.base_url),
        lifespan=partial(_lifespan, settings),
        # Clients name their methods after it: a route says otherwise where its function has another name.
        generate_unique_id_function=attrgetter("name"),
        # A redirect would use the Host header of the request.
        redirect_slashes=False,
        license_info={"name": "Apache 2.0", "identifier": "Apache-2.0"},
        # We serve the page ourselves, with its own Content-Security-Policy, and use only its files.
        docs_url=None,
        redoc_url=None,
        contact={"name": "The operator of this installation"},
        servers=[{"url": "/", "description": "This installation"}],
        # Vigie traces requests itself. FastAPI's telemetry would export messages of errors, which quote data.
        telemetry=dict.fromkeys(("tracing", "metrics", "logs", "auto_configure"), False),
    )
    # Each group of settings is a resource of its own: a room asks for the one that it uses.
    provide_resources(app, *(group for _, group in settings if isinstance(group, BaseModel)))
    tls = settings.tls_listener
    provide_resources(app, BoxListener(tls.port, tls.host, tls.clients))
    problems.install_error_handlers(app)
    app.add_exception_handler(OrganisationQuotaExceededError, _over_quota)
    app.add_exception_handler(ForbiddenContentError, _forbidden)
    install_middleware(
        app,
        settings,
        inside=[Middleware(ErrorPageMiddleware)],
        # The OpenAPI document is that of `/ogc/api`.
        open_paths=(*STANDARD_APIS, "/openapi.json") if settings.sensorthings.anonymous else (),
        report_refusal=RefusalRecorder().record,
        buckets=buckets,
    )
    app.router.routes.insert(0, RouteIndex([reject_own_webhook]))
    for router in ROUTERS:
        app.include_router(router)
    add_openapi_webhooks(app.webhooks)
    add_docs_pages(app)
    serve_openapi_document(app)
    problems.complete_openapi(app, partial(header_descriptions.describe_headers, app))
    return app
