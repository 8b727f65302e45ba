"""What the HTTP doors of ingest share: the commit, tried again where that helps, and the answer."""

import asyncio
import math
import time
from collections.abc import Awaitable, Iterable
from contextlib import suppress
from datetime import datetime
from typing import Any, Final

import asyncpg
from fastapi import Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field

from app.ingest.codec.message_intake import Intake, Sent
from app.ingest.codec.telemetry_codec import encode_sample
from app.ingest.pipeline.batch_pipeline import Pipeline
from app.ingest.pipeline.batch_receipt import Receipt
from app.ingest.pipeline.commit_progress import Progress
from app.ingest.pipeline.quota_step import next_day
from app.notifications.events.outbox import wake
from app.platform.config.settings import Settings
from app.platform.db.database import TRANSIENT, is_transient
from app.platform.http.contract.problems import problem
from app.platform.http.contract.strict_body import content_encoding, read_body
from app.platform.kernel.bounded_gzip import gunzip
from app.platform.kernel.errors import TooManyRequestsError, UnavailableError, VigieError
from app.platform.kernel.rejection_codes import RejectedError, Rejection, status_of
from app.platform.observability.log_redaction import told
from app.platform.observability.metrics_and_logs import INGEST_RETRIES, get_logger, root_of

_log = get_logger(__name__)
_TRIES: Final = 3
_GZIP: Final = frozenset({"gzip", "x-gzip"})


class Reason(BaseModel):
    """Why one sample or event was refused, or the values of a sample for one purpose."""

    index: int | None = Field(description="Its place in the call; null where it cannot be told")
    seq: int | None
    code: str = Field(examples=["value_out_of_bounds"])
    detail: str
    purpose: str | None = Field(None, description="What it was for, where that is why it was refused")
    partly: bool = Field(
        False, description="Only its values for that purpose were refused: the rest of the sample was taken"
    )


class TelemetryOutcome(BaseModel):
    """What became of the samples or events, after the commit. The four counts add up to what was sent."""

    stored: int = Field(description="New ones, also such of which `reasons` says that a part was refused")
    duplicate: int = Field(description="Repeats of what is stored")
    conflict: int = Field(description="Stored box and time, other values: the first are kept")
    rejected: int = Field(description="Refused, and kept in quarantine where it may be kept")
    reasons: list[Reason]


def retry_after(code: str, now: datetime) -> dict[str, str]:
    """The header that says when what is refused with this code may be sent again (429), if it is known."""
    if status_of(code) != TooManyRequestsError.status:
        return {}
    return {"Retry-After": str(math.ceil((next_day(now) - now).total_seconds()))}


def reasons_of(refused: Iterable[Rejection], partly: Iterable[Rejection]) -> list[dict[str, Any]]:
    """What was refused, as an answer says it: as a whole, and in part."""
    return [
        {
            "index": each.index,
            "seq": each.seq,
            "code": each.code,
            "detail": each.detail,
            "purpose": each.purpose,
            "partly": is_part,
        }
        for is_part, some in ((False, refused), (True, partly))
        for each in some
    ]


def _answer(receipt: Receipt, now: datetime) -> JSONResponse:
    """200 when something was taken; the reason's own status when nothing was."""
    refusals = [entry.rejection for entry in receipt.turned]
    stored = receipt.stored + len(receipt.new_events)
    duplicate = receipt.duplicate + receipt.repeated_events
    outcome: dict[str, Any] = {
        "stored": stored,
        "duplicate": duplicate,
        "conflict": receipt.conflict,
        "rejected": len(refusals),
        "reasons": reasons_of(refusals, (entry.rejection for entry in receipt.withheld)),
    }
    if refusals and not stored + duplicate + receipt.conflict:
        first = refusals[0]
        return problem(status_of(first.code), first.code, first.detail, outcome, retry_after(first.code, now))
    return JSONResponse(outcome)


async def read(request: Request, intake: Intake) -> bytes:
    """Read a body into an intake, and take a declared gzip off it.

    Raises:
        UnreadableBodyError: as `read_body` does.
        RejectedError: as `gunzip` does.
    """
    body = await read_body(request, encodings=_GZIP)
    intake.messages = [Sent(None, body)]
    if content_encoding(request) in _GZIP:
        settings: Settings = request.app.state.settings
        body = gunzip(body, settings.api.max_body_bytes)
        intake.messages = [Sent(None, body)]
    return body


def keep_readable(intake: Intake) -> None:
    """Have a single sample in another format kept in Vigie's JSON, should it be refused later.

    By HTTP no topic tells the format, and who looks at it or sends it again has to know it.
    """
    if len(intake.rows) == 1:
        sample = encode_sample(intake.rows[0])
        intake.messages = [Sent(None, b'{"box": "%b", "samples": [%b]}' % (intake.boxes[0].encode(), sample))]


async def take(
    request: Request, intake: Intake, sorting: Awaitable[None], now: datetime, *, box: str | None = None
) -> JSONResponse:
    """Sort what came, store it with what was refused of it, and answer.

    Args:
        request: The request.
        intake: What `sorting` fills.
        sorting: Reads and decodes the body. RejectedError and VigieError say that all of it is refused.
        now: The time of arrival.
        box: Whose it is, where the door knows.

    Raises:
        VigieError: the one of `sorting`; UnavailableError where nothing could be stored.
    """
    refused: VigieError | None = None
    rejection: Rejection | None = None
    try:
        await sorting
    except RejectedError as error:
        rejection = error.rejection()
    except VigieError as error:
        refused, rejection = error, Rejection(error.code, error.detail)
    if rejection is not None:
        intake.turn(0, box, rejection)
    receipt = await _commit(request, intake, now)
    if refused is not None:
        raise refused
    return _answer(receipt, now)


async def _commit(request: Request, intake: Intake, now: datetime) -> Receipt:
    """Store what came in.

    Raises:
        UnavailableError: the database cannot take it now, or not all of it.
    """
    pipeline: Pipeline = request.app.state.pipeline
    pool: asyncpg.Pool = request.app.state.ingest_pool
    progress = Progress()
    for left in reversed(range(_TRIES)):
        began = time.monotonic()
        try:
            async with pool.acquire(timeout=10) as connection:
                receipt = await pipeline.commit(connection, intake, now=now, so_far=progress)
                receipt.count()
                if receipt.transitions:
                    # Committed: a failed wake-up costs the dispatcher's poll interval, and no second commit.
                    with suppress(*TRANSIENT):
                        await wake(connection)
                return receipt
        except TRANSIENT as error:
            if not is_transient(error):
                raise
            INGEST_RETRIES.labels(type(error).__name__).inc()
            _log.warning(
                "telemetry_tried_again",
                error=told(error),
                because=told(root_of(error)),
                batch_ran_s=round(time.monotonic() - began, 2),
                left=left,
            )
            await asyncio.sleep(0.05)
    raise UnavailableError(
        "The database cannot take all samples now. Send the same again: what is stored by then is counted as "
        "duplicate."
    )
