"""Structured logs with correlation ids, and the Prometheus metrics of every step.

Metrics are declared here, in one place, so that a name means the same in each role. Where
`PROMETHEUS_MULTIPROC_DIR` is set (the embedded stack sets it) all roles share their figures, and the
API's `/metrics` shows them together.

How an error is told in a log where its own words could cite what somebody sent.

PostgreSQL's messages name values ("invalid input syntax for type …"), and so do those of Python's own errors.
What is told in their place finds the fault all the same: the class, PostgreSQL's code and the names of what
it concerned, and where in the program it was. Must not write logs itself.

The id of the request that is being answered: in its response, its log lines, and its problem.
"""

import logging
import os
import sys
from typing import TextIO

from app.platform.observability.metric_files import METRICS_SHARED, MULTIPROCESS_VARIABLE

# isort: split
# prometheus_client decides at its import whether figures are shared: the files are reserved by then.
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
INGEST_IGNORED = Counter(
    "vigie_ingest_ignored_total", "Values in other formats that no metric stands for", ["format"]
)
INGEST_BATCHES = Counter("vigie_ingest_batches_total", "Batches committed", ["door"])
INGEST_RETRIES = Counter(
    "vigie_ingest_retries_total", "Batches tried again after a database error", ["reason"]
)
INGEST_STEP = Histogram("vigie_ingest_step_seconds", "Time of each step of a batch", ["step"], buckets=_STEPS)
INGEST_CONNECTED = Gauge(
    "vigie_ingest_connected", "1 while the consumer has its broker connection", multiprocess_mode="livesum"
)
INGEST_RECONNECTS = Counter("vigie_ingest_reconnects_total", "Connections to the broker made again")
INGEST_MALFORMED = Counter("vigie_ingest_malformed_total", "MQTT packets that could not be read")
INGEST_POISON = Counter("vigie_ingest_poison_total", "MQTT packets skipped after they came again and again")
INGEST_PAUSES = Counter("vigie_ingest_pauses_total", "Times reading paused: too much was unacknowledged")
INGEST_STALE_ACKS = Counter("vigie_ingest_stale_acks_total", "Acknowledgements whose connection was gone")
SAMPLES_STORED = Counter("vigie_samples_stored_total", "Samples stored", ["door"])
SAMPLES_DUPLICATE = Counter("vigie_samples_duplicate_total", "Exact repeats of stored samples", ["door"])
SAMPLES_CONFLICT = Counter("vigie_samples_conflict_total", "Stored identity, other values", ["door"])
SAMPLES_LATE = Counter("vigie_samples_late_total", "Samples older than what rules had already seen", ["door"])
EVENTS_STORED = Counter("vigie_events_stored_total", "Events stored", ["type"])
EVENTS_DUPLICATE = Counter("vigie_events_duplicate_total", "Repeats of stored events")
QUARANTINED = Counter("vigie_quarantined_total", "What was refused, by reason", ["door", "code"])
SAMPLES_PARTLY_REFUSED = Counter(
    "vigie_samples_partly_refused_total",
    "Samples of which the values for one purpose were refused, by reason",
    ["door", "code"],
)
QUARANTINE_REPLAYS = Counter(
    "vigie_quarantine_replays_total", "Replays of what was refused, by outcome", ["outcome"]
)
ACKS_SENT = Counter("vigie_acks_sent_total", "Application acknowledgements published")
ACKS_FAILED = Counter("vigie_acks_failed_total", "Application acknowledgements that could not be published")
BOXES_ENROLLED = Counter("vigie_boxes_enrolled_total", "Boxes registered without an API key", ["by"])
DOOR_REFUSALS = Counter(
    "vigie_door_refusals_total",
    "What was refused for its purpose or its content, and kept nowhere: by MQTT, HTTP and REST",
    ["door", "code"],
)
QUOTA_REFUSED = Counter(
    "vigie_quota_refused_total", "Things that were not made: the organisation's quota is used up", ["quota"]
)
ALERT_TRANSITIONS = Counter(
    "vigie_alert_transitions_total", "Alerts fired and resolved", ["state", "severity"]
)
INDEX_PERIODS = Counter("vigie_index_periods_total", "Periods of indices that rules were judged by")
INCIDENTS_TOLD = Counter("vigie_incidents_told_total", "Versions of incidents that were told", ["kind"])
INCIDENT_EVENTS_SKIPPED = Counter(
    "vigie_incident_events_skipped_total", "Events that were too many to be looked at together"
)
INCIDENT_SECONDS = Histogram(
    "vigie_incident_seconds",
    "To make incidents of the events of a stretch, with reading and writing",
    buckets=(0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5),
)
ALERTS_FIRING = Gauge("vigie_alerts_firing", "Alerts now firing", multiprocess_mode="mostrecent")
ALERTS_MUTED = Gauge(
    "vigie_alerts_muted",
    "Firing alerts that are not told now, by what mutes them (both may)",
    ["by"],
    multiprocess_mode="mostrecent",
)
SWEEP_SECONDS = Histogram(
    "vigie_sweep_seconds", "Time of a look at what is due of alerts, muted or not", buckets=_STEPS
)
SWEEP_FAILURES = Counter(
    "vigie_sweep_failures_total", "Looks at one organisation's alerts that failed, by error", ["reason"]
)
DELIVERIES = Counter("vigie_deliveries_total", "Attempts to deliver, by outcome", ["outcome"])
DELIVERY_SECONDS = Histogram("vigie_delivery_seconds", "Time of an attempt", buckets=_STEPS)
DELIVERY_DELAY = Histogram("vigie_delivery_delay_seconds", "From outbox to first attempt", buckets=_STEPS)
DELIVERIES_RUNNING = Gauge(
    "vigie_deliveries_running", "Attempts to deliver that are under way", multiprocess_mode="livesum"
)
DELIVERIES_LEASED = Gauge(
    "vigie_deliveries_leased",
    "Deliveries that are under way, about to be, or to be recorded",
    multiprocess_mode="livesum",
)
RECORD_BATCH = Histogram(
    "vigie_delivery_record_batch",
    "Attempts that were recorded together",
    buckets=(1, 2, 5, 10, 20, 50, 100, 200, 500),
)
ENDPOINT_NOTICES = Counter(
    "vigie_endpoint_notices_total", "Owners told that an endpoint fails, or was disabled, by event", ["type"]
)
ENDPOINTS_TROUBLED = Gauge(
    "vigie_endpoints_troubled",
    "Endpoints that fail, are slowed down, or were disabled for failing: `open`, `slowed`, `disabled`",
    ["state"],
    multiprocess_mode="mostrecent",
)
EVENTS_UNFIT = Counter(
    "vigie_events_unfit_total", "Events that nobody was sent: for their data no delivery could be made"
)
GROUPED_EVENTS = Counter("vigie_grouped_events_total", "Events that were put into a group's notification")
GROUPS_WAITING = Gauge(
    "vigie_groups_waiting",
    "Notifications of groups that are yet to be sent, without those of which all is muted",
    multiprocess_mode="mostrecent",
)
GROUPS_OLDEST = Gauge(
    "vigie_groups_oldest_waiting_seconds",
    "How old the oldest event in one of these is, 0 where none waits",
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
BACKTESTS_WAITING = Gauge(
    "vigie_backtests_waiting", "Back-tests that nobody works on yet", multiprocess_mode="mostrecent"
)
BACKTESTS_RUNNING = Gauge("vigie_backtests_running", "Back-tests under way", multiprocess_mode="mostrecent")
BACKTESTS_OLDEST = Gauge(
    "vigie_backtests_oldest_waiting_seconds",
    "How long the oldest of the waiting back-tests has waited, 0 where none does",
    multiprocess_mode="mostrecent",
)
BACKTESTS_FINISHED = Counter("vigie_backtests_finished_total", "Back-tests finished, by state", ["state"])
ROLLUPS = Counter("vigie_rollups_total", "Summaries made, of hours and of days", ["span"])
ROLLUP_MARKS = Gauge(
    "vigie_rollup_marks",
    "Hours of boxes whose summaries are to be made, those under way among them",
    multiprocess_mode="mostrecent",
)
ROLLUP_LAG = Gauge(
    "vigie_rollup_lag_seconds",
    "How long the oldest hour that is over has waited for its summary, 0 where none does",
    multiprocess_mode="mostrecent",
)
RETENTION_REMOVED = Counter(
    "vigie_retention_removed_total",
    "What was removed for its age: samples, values, events, hourly, daily (rows of roll-ups), chunks",
    ["what"],
)
RETENTION_WAITING = Gauge(
    "vigie_retention_waiting_boxes",
    "Boxes that have something to be removed for its age",
    multiprocess_mode="mostrecent",
)
ERASED = Counter("vigie_erased_total", "What was erased on request, by table", ["table"])
ERASURES_WAITING = Gauge(
    "vigie_erasures_waiting", "Erasures that are not finished", multiprocess_mode="mostrecent"
)
BROKER_WATCHED = Gauge(
    "vigie_broker_watched",
    "1 while somebody reads the broker's own figures ($SYS)",
    multiprocess_mode="livesum",
)
BROKER_DROPPED = Counter(
    "vigie_broker_dropped_messages_total", "Messages that the broker dropped: a queue was full"
)
BROKER_EXPIRED = Counter(
    "vigie_broker_expired_sessions_total", "Sessions that the broker expired, with what was queued for them"
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
    "Requests refused before anything of them was looked at, by code and by the limit they broke",
    ["code", "policy"],
)
LOG_LINES_LOST = Counter(
    "vigie_log_lines_lost_total", "Log lines that could not be written, for want of room on their disk"
)
HTTP_SECONDS = Histogram(
    "vigie_http_request_seconds", "Time of a REST call", ["method", "route"], buckets=_STEPS
)


class _LossyHandler(logging.StreamHandler[TextIO]):
    """Writes log lines, and counts those that cannot be written: a full disk must not end a process."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 (the base class's name)
        """Count a line that was lost for its stream; errors of the line itself are reported as usual."""
        if isinstance(sys.exception(), OSError):
            LOG_LINES_LOST.inc()
        else:
            super().handleError(record)


def configure_logging(settings: LogSettings, *, role: str) -> None:
    """Set up structlog and the standard library's logging alike: one line an event, on standard output."""
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
            # The plain form: the default one writes local variables, and with them secrets, into the log.
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
    """A logger that takes an event name and key=value pairs."""
    logger: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger(name)
    return logger


def find_root_cause(error: BaseException) -> BaseException:
    """The error with which it began: what comes of a broken connection hides why it broke."""
    seen = {id(error)}
    while (before := error.__cause__ or error.__context__) is not None and id(before) not in seen:
        seen.add(id(before))
        error = before
    return error


def render_metrics() -> bytes:
    """The Prometheus text of this process, or of all roles in the multi-process mode."""
    if MULTIPROCESS_VARIABLE not in os.environ:
        return generate_latest(PROCESS_REGISTRY)
    registry = CollectorRegistry()
    multiprocess.MultiProcessCollector(registry)  # type: ignore[no-untyped-call] # its stub lacks the types
    return generate_latest(registry)


_FRAMES: Final = 6
_CONCERNED: Final = ("schema_name", "table_name", "column_name", "constraint_name", "data_type_name")


def redact_error(error: BaseException) -> str:
    """An error's class; of one of PostgreSQL's also its code, and the names of table, column, constraint."""
    if isinstance(error, OSError) or (
        isinstance(error, asyncpg.InterfaceError) and not isinstance(error, asyncpg.DataError | ValueError)
    ):
        # Of a connection, not of what goes over it.
        return repr(error)
    name = type(error).__name__
    if not isinstance(error, asyncpg.PostgresError):
        return name
    named = (getattr(error, each, None) for each in _CONCERNED)
    return " ".join([name, error.sqlstate or "", *(each for each in named if each)]).strip()


def list_error_frames(error: BaseException) -> list[str]:
    """The last calls before an error, as `file:line function`, the innermost last."""
    frames = traceback.extract_tb(error.__traceback__)[-_FRAMES:]
    return [f"{frame.filename.rpartition('/app/')[2]}:{frame.lineno} {frame.name}" for frame in frames]


# Enough for a UUID, a ULID or a trace id; nothing that could break a log line or a header.
_FORM: Final = re.compile(rb"[A-Za-z0-9._-]{8,64}")
_current: ContextVar[str | None] = ContextVar("request_id", default=None)


def current_request_id() -> str | None:
    """The id of the request that this task answers; None outside of one."""
    return _current.get()


def begin_request_id(given: bytes | None) -> Token[str | None]:
    """Give this task's request its client's id, where that has the form of one; else a new one."""
    fit = given is not None and _FORM.fullmatch(given)
    return _current.set(given.decode("ascii") if given is not None and fit else str(new_id()))


def end_request_id(token: Token[str | None]) -> None:
    """Forget it."""
    _current.reset(token)
