"""Writes structured logs with request ids, declares the Prometheus metrics, and redacts errors for logs.

All metrics are declared here, so that a name means the same in each process. Where `PROMETHEUS_MULTIPROC_DIR`
is set, as in the embedded stack, processes share their metrics, and the API's `/metrics` combines them.

Messages of errors can quote what a client sent: PostgreSQL's name values ("invalid input syntax for type …"),
and so do Python's. `redact_error` logs the class, PostgreSQL's code and the names of tables and columns
instead, and `list_error_frames` the location in the program.

The request id is in the response, in its log lines, and in its problem.
"""

import logging
import os
import sys
from typing import TextIO

from app.platform.observability.metric_file_space import METRICS_SHARED, MULTIPROCESS_VARIABLE

# isort: split
# prometheus_client decides at its import whether metrics are shared: the files must be reserved before.
import re
import traceback
from contextvars import ContextVar, Token
from typing import Final

import asyncpg
import structlog
from prometheus_client import REGISTRY as PROCESS_REGISTRY
from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
    multiprocess,
)

from app.platform.config.settings import LogSettings
from app.platform.kernel.ids import new_id

_STEPS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)

INGEST_MESSAGES = Counter("vigie_ingest_messages_total", "MQTT messages taken in", ["kind"])
INGEST_BYTES = Counter("vigie_ingest_bytes_total", "Bytes of MQTT payload taken in")
INGEST_IGNORED = Counter("vigie_ingest_ignored_total", "Values in other formats without a metric", ["format"])
INGEST_BATCHES = Counter("vigie_ingest_batches_total", "Batches committed", ["door"])
INGEST_RETRIES = Counter(
    "vigie_ingest_retries_total", "Retries of batches after a database error", ["reason"]
)
INGEST_STEP = Histogram("vigie_ingest_step_seconds", "Time of each step of a batch", ["step"], buckets=_STEPS)
INGEST_CONNECTED = Gauge(
    "vigie_ingest_connected", "1 while the consumer has its broker connection", multiprocess_mode="livesum"
)
INGEST_RECONNECTS = Counter("vigie_ingest_reconnects_total", "Connections to the broker made again")
INGEST_MALFORMED = Counter("vigie_ingest_malformed_total", "MQTT packets that could not be read")
INGEST_POISON = Counter("vigie_ingest_poison_total", "MQTT packets skipped after repeated redelivery")
INGEST_PAUSES = Counter("vigie_ingest_pauses_total", "Times reading paused: too much was unacknowledged")
INGEST_STALE_ACKS = Counter(
    "vigie_ingest_stale_acks_total", "Acknowledgements for a connection that was lost"
)
SAMPLES_STORED = Counter("vigie_samples_stored_total", "Samples stored", ["door"])
SAMPLES_DUPLICATE = Counter("vigie_samples_duplicate_total", "Exact repeats of stored samples", ["door"])
SAMPLES_CONFLICT = Counter("vigie_samples_conflict_total", "Stored identity, other values", ["door"])
SAMPLES_LATE = Counter("vigie_samples_late_total", "Samples older than what rules had already seen", ["door"])
EVENTS_STORED = Counter("vigie_events_stored_total", "Events stored", ["type"])
EVENTS_DUPLICATE = Counter("vigie_events_duplicate_total", "Repeats of stored events")
QUARANTINED = Counter("vigie_quarantined_total", "Refused messages and samples, by reason", ["door", "code"])
SAMPLES_PARTLY_REFUSED = Counter(
    "vigie_samples_partly_refused_total",
    "Samples of which the values for one purpose were refused, by reason",
    ["door", "code"],
)
QUARANTINE_REPLAYS = Counter(
    "vigie_quarantine_replays_total", "Replays from quarantine, by outcome", ["outcome"]
)
ACKS_SENT = Counter("vigie_acks_sent_total", "Application acknowledgements published")
ACKS_FAILED = Counter("vigie_acks_failed_total", "Application acknowledgements that could not be published")
BOXES_ENROLLED = Counter("vigie_boxes_enrolled_total", "Boxes registered without an API key", ["by"])
DOOR_REFUSALS = Counter(
    "vigie_door_refusals_total",
    "Input refused for its purpose or content, and stored nowhere: by MQTT, HTTP and REST",
    ["door", "code"],
)
QUOTA_REFUSED = Counter(
    "vigie_quota_refused_total", "Refusals because the organisation's quota is used up", ["quota"]
)
ALERT_TRANSITIONS = Counter(
    "vigie_alert_transitions_total", "Alerts fired and resolved", ["state", "severity"]
)
INDEX_PERIODS = Counter("vigie_index_periods_total", "Periods of indices that rules were evaluated on")
INCIDENTS_TOLD = Counter("vigie_incidents_told_total", "Versions of incidents that were notified", ["kind"])
INCIDENT_EVENTS_SKIPPED = Counter(
    "vigie_incident_events_skipped_total", "Events that exceeded the limit for one clustering"
)
INCIDENT_SECONDS = Histogram(
    "vigie_incident_seconds",
    "Time to cluster the events of a time window, with reading and writing",
    buckets=(0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5),
)
ALERTS_FIRING = Gauge("vigie_alerts_firing", "Alerts now firing", multiprocess_mode="mostrecent")
ALERTS_MUTED = Gauge(
    "vigie_alerts_muted",
    "Firing alerts that are muted now, by cause (both may apply)",
    ["by"],
    multiprocess_mode="mostrecent",
)
SWEEP_SECONDS = Histogram("vigie_sweep_seconds", "Time to process due timers of alerts", buckets=_STEPS)
SWEEP_FAILURES = Counter(
    "vigie_sweep_failures_total", "Failures to process one organisation's alert timers, by error", ["reason"]
)
DELIVERIES = Counter("vigie_deliveries_total", "Attempts to deliver, by outcome", ["outcome"])
DELIVERY_SECONDS = Histogram("vigie_delivery_seconds", "Time of an attempt", buckets=_STEPS)
DELIVERY_DELAY = Histogram("vigie_delivery_delay_seconds", "From outbox to first attempt", buckets=_STEPS)
DELIVERIES_RUNNING = Gauge(
    "vigie_deliveries_running", "Attempts to deliver that are under way", multiprocess_mode="livesum"
)
DELIVERIES_LEASED = Gauge(
    "vigie_deliveries_leased",
    "Deliveries that are leased: queued, running, or not yet recorded",
    multiprocess_mode="livesum",
)
RECORD_BATCH = Histogram(
    "vigie_delivery_record_batch",
    "Attempts that were recorded together",
    buckets=(1, 2, 5, 10, 20, 50, 100, 200, 500),
)
ENDPOINT_NOTICES = Counter(
    "vigie_endpoint_notices_total",
    "Notices to owners that an endpoint fails or was disabled, by event",
    ["type"],
)
ENDPOINTS_TROUBLED = Gauge(
    "vigie_endpoints_troubled",
    "Endpoints that fail, are slowed down, or were disabled for failing: `open`, `slowed`, `disabled`",
    ["state"],
    multiprocess_mode="mostrecent",
)
EVENTS_UNFIT = Counter(
    "vigie_events_unfit_total", "Events without deliveries, because their data were not valid"
)
GROUPED_EVENTS = Counter("vigie_grouped_events_total", "Events that were put into a group's notification")
GROUPS_WAITING = Gauge(
    "vigie_groups_waiting",
    "Queued notifications of groups, without completely muted ones",
    multiprocess_mode="mostrecent",
)
GROUPS_OLDEST = Gauge(
    "vigie_groups_oldest_waiting_seconds",
    "Age of the oldest event in these, 0 where there is none",
    multiprocess_mode="mostrecent",
)
STREAMS_OPEN = Gauge("vigie_event_streams_open", "Streams of events now open", multiprocess_mode="livesum")
STREAM_EVENTS = Counter("vigie_event_stream_events_total", "Events written to streams")
GROUPED_EXPIRED = Counter(
    "vigie_grouped_events_expired_total",
    "Alerts' events removed for their age that waited in groups of disabled endpoints",
)
DELIVERIES_EXPIRED = Counter(
    "vigie_deliveries_expired_total",
    "Deliveries removed for their age that were neither delivered nor given up: of disabled endpoints",
)
SECRETS_TO_SEAL = Gauge(
    "vigie_secrets_to_seal",
    "Secrets in the database that are in clear, sealed under an older key, or cannot be opened",
    multiprocess_mode="mostrecent",
)
OUTBOX_PENDING = Gauge("vigie_outbox_pending", "Deliveries not yet done", multiprocess_mode="mostrecent")
BACKTESTS_WAITING = Gauge("vigie_backtests_waiting", "Queued back-tests", multiprocess_mode="mostrecent")
BACKTESTS_RUNNING = Gauge("vigie_backtests_running", "Back-tests under way", multiprocess_mode="mostrecent")
BACKTESTS_OLDEST = Gauge(
    "vigie_backtests_oldest_waiting_seconds",
    "Age of the oldest queued back-test, 0 where there is none",
    multiprocess_mode="mostrecent",
)
BACKTESTS_FINISHED = Counter("vigie_backtests_finished_total", "Back-tests finished, by state", ["state"])
ROLLUPS = Counter("vigie_rollups_total", "Roll-ups computed, of hours and of days", ["span"])
ROLLUP_MARKS = Gauge(
    "vigie_rollup_marks",
    "Hours of boxes without a current roll-up, including running ones",
    multiprocess_mode="mostrecent",
)
ROLLUP_LAG = Gauge(
    "vigie_rollup_lag_seconds",
    "Age of the oldest hour without a current roll-up, 0 where there is none",
    multiprocess_mode="mostrecent",
)
RETENTION_REMOVED = Counter(
    "vigie_retention_removed_total",
    "Removals by retention: samples, values, events, hourly, daily (rows of roll-ups), chunks",
    ["what"],
)
RETENTION_WAITING = Gauge(
    "vigie_retention_waiting_boxes",
    "Boxes with data to be removed by retention",
    multiprocess_mode="mostrecent",
)
ERASED = Counter("vigie_erased_total", "Rows erased on request, by table", ["table"])
ERASURES_WAITING = Gauge(
    "vigie_erasures_waiting", "Erasures that are not finished", multiprocess_mode="mostrecent"
)
BROKER_WATCHED = Gauge(
    "vigie_broker_watched",
    "1 while a process monitors the broker's metrics ($SYS)",
    multiprocess_mode="livesum",
)
BROKER_DROPPED = Counter(
    "vigie_broker_dropped_messages_total", "Messages that the broker dropped: a queue was full"
)
BROKER_EXPIRED = Counter(
    "vigie_broker_expired_sessions_total", "Sessions that the broker expired, with their queues"
)
BROKER_CLIENTS = Gauge(
    "vigie_broker_clients_connected", "Clients connected to the broker", multiprocess_mode="mostrecent"
)
BROKER_CLIENTS_AWAY = Gauge(
    "vigie_broker_clients_away",
    "Sessions that the broker keeps for clients that are away",
    multiprocess_mode="mostrecent",
)
BROKER_STORED = Gauge(
    "vigie_broker_stored_messages",
    "Messages that the broker holds, queued or retained",
    multiprocess_mode="mostrecent",
)
BROKER_STORED_BYTES = Gauge(
    "vigie_broker_stored_bytes", "Bytes of these messages", multiprocess_mode="mostrecent"
)
HTTP_REQUESTS = Counter("vigie_http_requests_total", "REST calls", ["method", "route", "status"])
HTTP_REFUSED = Counter(
    "vigie_http_refused_total",
    "Requests refused by their head, by code and by exceeded limit",
    ["code", "policy"],
)
LOG_LINES_LOST = Counter(
    "vigie_log_lines_lost_total", "Log lines that could not be written, because the disk was full"
)
HTTP_SECONDS = Histogram(
    "vigie_http_request_seconds", "Time of a REST call", ["method", "route"], buckets=_STEPS
)


class _LossyHandler(logging.StreamHandler[TextIO]):
    """Writes log lines, and counts those that cannot be written: a full disk must not end a process."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 (the base class's name)
        """Count a line that its stream lost; report errors of the line itself as usual."""
        if isinstance(sys.exception(), OSError):
            LOG_LINES_LOST.inc()
        else:
            super().handleError(record)


def configure_logging(settings: LogSettings, *, role: str) -> None:
    """Configure structlog and the standard library's logging alike: one line per event, on stdout."""
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    final: list[structlog.typing.Processor] = (
        [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
        if settings.format == "json"
        else [
            # The plain form: the default one logs local variables, and secrets with them.
            structlog.dev.ConsoleRenderer(
                colors=sys.stdout.isatty(), exception_formatter=structlog.dev.plain_traceback
            )
        ]
    )
    handler = _LossyHandler(sys.stdout)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *final],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(settings.level.upper())
    for noisy in ("uvicorn.access", "aiohttp.access"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    structlog.contextvars.bind_contextvars(role=role, pid=os.getpid())
    if not METRICS_SHARED:
        get_logger(__name__).warning("metrics_not_shared", reason="no room for their files")


def get_logger(name: str) -> structlog.stdlib.BoundLogger:
    """Return a logger that takes an event name and key=value pairs."""
    logger: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger(name)
    return logger


def find_root_cause(error: BaseException) -> BaseException:
    """Return the first error of a chain: later ones hide why a connection broke."""
    seen = {id(error)}
    while (before := error.__cause__ or error.__context__) is not None and id(before) not in seen:
        seen.add(id(before))
        error = before
    return error


def render_metrics() -> bytes:
    """Return the Prometheus text of this process, or of all processes in the multi-process mode."""
    if MULTIPROCESS_VARIABLE not in os.environ:
        return generate_latest(PROCESS_REGISTRY)
    registry = CollectorRegistry()
    multiprocess.MultiProcessCollector(registry)  # type: ignore[no-untyped-call] # its stub lacks the types
    return generate_latest(registry)


_FRAMES: Final = 6
_CONCERNED: Final = ("schema_name", "table_name", "column_name", "constraint_name", "data_type_name")


def redact_error(error: BaseException) -> str:
    """Return an error's class; for PostgreSQL's errors also the code, and the names of table and column."""
    if isinstance(error, OSError) or (
        isinstance(error, asyncpg.InterfaceError) and not isinstance(error, asyncpg.DataError | ValueError)
    ):
        # Describes a connection, not the data on it.
        return repr(error)
    name = type(error).__name__
    if not isinstance(error, asyncpg.PostgresError):
        return name
    named = (getattr(error, each, None) for each in _CONCERNED)
    return " ".join([name, error.sqlstate or "", *(each for each in named if each)]).strip()


def list_error_frames(error: BaseException) -> list[str]:
    """Return the last calls before an error, as `file:line function`, the innermost last."""
    frames = traceback.extract_tb(error.__traceback__)[-_FRAMES:]
    return [f"{frame.filename.rpartition('/app/')[2]}:{frame.lineno} {frame.name}" for frame in frames]


# Enough for a UUID, a ULID or a trace id; nothing that could break a log line or a header.
_FORM: Final = re.compile(rb"[A-Za-z0-9._-]{8,64}")
_current: ContextVar[str | None] = ContextVar("request_id", default=None)


def current_request_id() -> str | None:
    """Return the id of the request that this task serves; None outside of one."""
    return _current.get()


def begin_request_id(given: bytes | None) -> Token[str | None]:
    """Set this task's request id: the client's if it is well formed, else a new one."""
    fit = given is not None and _FORM.fullmatch(given)
    return _current.set(given.decode("ascii") if given is not None and fit else str(new_id()))


def end_request_id(token: Token[str | None]) -> None:
    """Reset the request id."""
    _current.reset(token)
