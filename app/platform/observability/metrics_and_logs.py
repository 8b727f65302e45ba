"""Writes structured logs with request ids, declares the platform's Prometheus metrics, and redacts errors.

Rooms declare their metrics in their module `metrics`, and `app.all_metrics` collects all of them. Where
`PROMETHEUS_MULTIPROC_DIR` is set, as in the embedded stack, processes share their metrics, and the API's
`/metrics` combines them.

Messages of errors can quote what a client sent: PostgreSQL's name values ("invalid input syntax for type …"),
and so do Python's. `redact_error` logs the class, PostgreSQL's code and the names of tables and columns
instead, and `list_error_frames` the location in the program.

The request id is in the response, in its log lines, and in its problem.
"""

import logging
import os
import re
import sys
import traceback
from collections.abc import MutableMapping
from contextvars import ContextVar, Token
from typing import Any, Final, TextIO

import asyncpg
import structlog
from prometheus_client import REGISTRY as PROCESS_REGISTRY
from prometheus_client import CollectorRegistry, generate_latest, multiprocess

from app.platform.config.platform_settings import LogSettings
from app.platform.kernel.ids import new_id_text
from app.platform.observability.metric_file_preallocation import METRICS_SHARED, MULTIPROCESS_VARIABLE
from app.platform.observability.metric_types import DURATION_BUCKETS, Counter, Gauge, Histogram
from app.platform.observability.tracing import current_span

SECRETS_TO_SEAL = Gauge(
    "vigie_secrets_to_seal",
    "Secrets in the database that are in clear, sealed under an older key, or cannot be opened",
    multiprocess_mode="mostrecent",
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
    "Sessions that the broker stores for disconnected clients",
    multiprocess_mode="mostrecent",
)
BROKER_STORED = Gauge(
    "vigie_broker_stored_messages",
    "Messages that the broker holds, queued or retained",
    multiprocess_mode="mostrecent",
)
BROKER_STORED_BYTES = Gauge(
    "vigie_broker_stored_bytes", "Bytes of the messages that the broker holds", multiprocess_mode="mostrecent"
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
    "vigie_http_request_seconds", "Time of a REST call", ["method", "route"], buckets=DURATION_BUCKETS
)


class _LossyHandler(logging.StreamHandler[TextIO]):
    """Writes log lines, and counts lost ones: a full disk must not end a process."""

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
        _add_request_and_trace_id,
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


def _add_request_and_trace_id(
    _: object, __: str, event: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    """Add request id and trace id to a log line, which costs less than binding them at each request."""
    if (request_id := _current.get()) is not None:
        event.setdefault("request_id", request_id)
    if (trace_id := current_span().trace_id) is not None:
        event.setdefault("trace_id", trace_id)
    return event


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
    return _current.set(given.decode("ascii") if given is not None and fit else new_id_text())


def end_request_id(token: Token[str | None]) -> None:
    """Reset the request id."""
    _current.reset(token)
