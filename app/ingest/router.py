"""`POST /v1/telemetry`: the HTTP door, for boxes and gateways. The same codec, pipeline and codes as MQTT."""

import asyncio
from contextlib import suppress
from datetime import UTC, datetime
from typing import Annotated, Any, Final

import asyncpg
from fastapi import APIRouter, Depends, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field

from app.core.auth import Principal, requires
from app.core.database import TRANSIENT, is_transient
from app.core.errors import UnavailableError, VigieError
from app.core.observability import INGEST_RETRIES, get_logger
from app.core.problems import documented, problem
from app.core.reasons import RejectedError, Rejection, status_of
from app.core.strict_body import check_media_type, read_body
from app.ingest.codec import decode_http_telemetry
from app.ingest.intake import Intake, Sent, Turned, add_decoded
from app.ingest.pipeline import Pipeline
from app.ingest.receipt import Receipt
from app.webhooks.outbox import wake

_log = get_logger(__name__)
router = APIRouter(prefix="/v1/telemetry", tags=["Telemetry"])

_TRIES: Final = 3
_EXAMPLE: Final = {
    "box": "box-0001",
    "samples": [
        {
            "seq": 1042,
            "time": "2026-11-24T10:00:00Z",
            "values": {"pm2_5": 12.4, "laeq": 58.3, "temperature": 21.5},
        }
    ],
}
_SCHEMA: Final = {
    "type": "object",
    "required": ["box", "samples"],
    "additionalProperties": False,
    "properties": {
        "box": {"type": "string", "pattern": "^[A-Za-z0-9_-]{1,64}$"},
        "samples": {
            "type": "array",
            "minItems": 1,
            "maxItems": 1000,
            "items": {
                "type": "object",
                "required": ["time", "values"],
                "additionalProperties": False,
                "properties": {
                    "seq": {"type": "integer", "minimum": 0, "maximum": 2**53},
                    "time": {
                        "description": "RFC 3339 with a zone, or milliseconds since the epoch",
                        "oneOf": [{"type": "string", "format": "date-time"}, {"type": "integer"}],
                    },
                    "values": {
                        "type": "object",
                        "minProperties": 1,
                        "additionalProperties": {"type": "number"},
                        "description": "Metric names of `GET /v1/metrics`, each with a number in its unit",
                    },
                },
            },
        },
    },
    "example": _EXAMPLE,
}


class Reason(BaseModel):
    """Why one sample was refused."""

    index: int | None = Field(description="Its place in `samples`; null where it cannot be told")
    seq: int | None
    code: str = Field(examples=["value_out_of_bounds"])
    detail: str


class TelemetryOutcome(BaseModel):
    """What became of the samples, after the commit. The four counts add up to what was sent."""

    stored: int = Field(description="New samples")
    duplicate: int = Field(description="Exact repeats of stored samples")
    conflict: int = Field(description="Stored box and time, other values: the first are kept")
    rejected: int = Field(description="Refused, and kept in quarantine")
    reasons: list[Reason]


def _answer(receipt: Receipt) -> JSONResponse:
    """200 when something was taken; the reason's own status when nothing was."""
    refusals = [entry.rejection for entry in receipt.turned]
    outcome: dict[str, Any] = {
        "stored": receipt.stored,
        "duplicate": receipt.duplicate,
        "conflict": receipt.conflict,
        "rejected": len(refusals),
        "reasons": [
            {"index": each.index, "seq": each.seq, "code": each.code, "detail": each.detail}
            for each in refusals
        ],
    }
    if refusals and not receipt.stored + receipt.duplicate + receipt.conflict:
        first = refusals[0]
        return problem(status_of(first.code), first.code, first.detail, outcome)
    return JSONResponse(outcome)


async def _commit(request: Request, intake: Intake, now: datetime) -> Receipt:
    pipeline: Pipeline = request.app.state.pipeline
    pool: asyncpg.Pool = request.app.state.ingest_pool
    for left in reversed(range(_TRIES)):
        try:
            async with pool.acquire(timeout=10) as connection:
                receipt = await pipeline.commit(connection, intake, now=now)
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
            _log.warning("telemetry_tried_again", error=repr(error), left=left)
            await asyncio.sleep(0.05)
    raise UnavailableError("The database cannot take samples now. Nothing was stored: send the same again.")


@router.post(
    "",
    summary="Send samples of a box",
    operation_id="post_telemetry",
    response_model=TelemetryOutcome,
    responses=documented(400, 401, 403, 404, 413, 415, 422, 503),
    openapi_extra={"requestBody": {"required": True, "content": {"application/json": {"schema": _SCHEMA}}}},
)
async def post_telemetry(
    request: Request, principal: Annotated[Principal, Depends(requires("telemetry:write"))]
) -> JSONResponse:
    """Store up to 1,000 samples of one box. The answer comes after the commit.

    Good samples are stored even when others of the same call are refused: `reasons` says which and why. When
    none can be taken the call answers with the status of the first reason. Sending the same again is
    harmless: repeats are counted and stored once.
    """
    now = datetime.now(UTC)
    now_us = round(now.timestamp() * 1_000_000)
    intake = Intake(
        "http", [Sent(None, b"")], organisation_id=principal.organisation_id, limit=principal.visible()
    )
    refused: VigieError | None = None
    try:
        body = await read_body(request)
        intake.messages = [Sent(None, body)]
        check_media_type(request, body)
        most = round(request.app.state.settings.ingest.max_future_s * 1_000_000)
        box, decoded = decode_http_telemetry(body, now_us, most)
        add_decoded(intake, box, 0, decoded.samples, decoded.rejections)
    except RejectedError as error:
        intake.turned.append(Turned(0, None, error.rejection(), intake.messages[0].payload))
    except VigieError as error:
        refused = error
        intake.turned.append(Turned(0, None, Rejection(error.code, error.detail), intake.messages[0].payload))
    receipt = await _commit(request, intake, now)
    if refused is not None:
        raise refused
    return _answer(receipt)
