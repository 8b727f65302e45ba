"""Reads the body of an HTTP ingest request, has it stored, and builds the response."""

import math
from collections.abc import Awaitable, Iterable
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import Any, Final
from uuid import UUID

import asyncpg
import msgspec
from fastapi import Request, Response
from fastapi.routing import APIRoute
from pydantic import BaseModel, Field
from starlette.types import Receive, Scope, Send

from app.ingest.adapters.adapter_types import DecodeContext
from app.ingest.codec.decoded_batch import DecodedBatch, ReceivedMessage
from app.ingest.codec.telemetry_codec import encode_sample
from app.ingest.fair_call_queue import CallSender
from app.ingest.group_committer import GroupCommitter
from app.ingest.pipeline.batch_pipeline import IngestPipeline
from app.ingest.pipeline.batch_receipt import BatchReceipt
from app.ingest.pipeline.quota_step import find_day_end
from app.ingest.settings import IngestSettings
from app.platform.config.api_settings import ApiSettings
from app.platform.http.contract.problems import make_problem_response
from app.platform.http.contract.strict_body import read_body, read_content_encoding
from app.platform.identity.caller_authentication import ScopeRequirement, authenticate_request
from app.platform.kernel.application_resources import get_resource
from app.platform.kernel.bounded_gzip import decompress_gzip
from app.platform.kernel.errors import TooManyRequestsError, VigieError
from app.platform.kernel.instants import US_PER_S, from_datetime
from app.platform.kernel.rejection_codes import InputRejection, RejectedError, get_rejection_status

MEASUREMENT_FIELDS: Final[dict[str, Any]] = {
    "seq": {"type": "integer", "minimum": 0, "maximum": 2**53},
    "time": {
        "description": "RFC 3339 with a zone, or milliseconds since the epoch",
        "oneOf": [{"type": "string", "format": "date-time"}, {"type": "integer"}],
    },
}
"""The OpenAPI schemas of the fields that samples and events have in common."""

_JSON: Final = "application/json"
_encode: Final = msgspec.json.Encoder().encode
_GZIP: Final = frozenset({"gzip", "x-gzip"})


@dataclass(slots=True)
class HttpIngestContext:
    """The pipeline of the API process, and the connections of the role that stores samples.

    Attributes:
        pipeline: the pipeline.
        pool: the connections.
        committer: commits calls with both.
    """

    pipeline: IngestPipeline
    pool: asyncpg.Pool
    committer: GroupCommitter = field(init=False)

    def __post_init__(self) -> None:
        self.committer = GroupCommitter(self.pipeline, self.pool)


class IngestRoute(APIRoute):
    """A route of callers with one scope, whose endpoint gets the request and the caller.

    It authenticates as the route's dependencies say. FastAPI's resolution of dependencies would cost a call
    more than its decoding, and its exit stacks as much as its parsing.
    """

    @cached_property
    def requirement(self) -> ScopeRequirement:
        """The scope that a caller needs."""
        calls = (each.call for each in self.dependant.dependencies)
        (found,) = (call for call in calls if isinstance(call, ScopeRequirement))
        return found

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["method"] not in (self.methods or ()):
            await super().handle(scope, receive, send)
            return
        request = Request(scope, receive, send)
        principal = await authenticate_request(request)
        self.requirement.check(principal)
        response: Response = await self.endpoint(request, principal)
        await response(scope, receive, send)


class Reason(BaseModel):
    """Why a sample or event, or the values of a sample for one purpose, was refused."""

    index: int | None = Field(description="Position in the request; null if it is unknown")
    seq: int | None
    code: str = Field(examples=["value_out_of_bounds"], description="The stable code of the reason")
    detail: str
    purpose: str | None = Field(None, description="The purpose for which it was refused, if there is one")
    partly: bool = Field(
        False, description="Only the values for that purpose were refused; the rest of the sample was stored"
    )


class TelemetryOutcome(BaseModel):
    """The outcome of the request, after the commit. The four counts add up to what was sent."""

    stored: int = Field(description="New ones, including samples of which a part was refused")
    duplicate: int = Field(description="Repeats of stored ones")
    conflict: int = Field(description="Box and time are stored with other values; the stored values remain")
    rejected: int = Field(description="Refused; stored in quarantine if that is permitted")
    reasons: list[Reason]


def build_retry_header(code: str, now: datetime) -> dict[str, str]:
    """Build the `Retry-After` header for a 429 code; empty for other codes."""
    if get_rejection_status(code) != TooManyRequestsError.status:
        return {}
    return {"Retry-After": str(math.ceil((find_day_end(now) - now).total_seconds()))}


def describe_rejections(
    refused: Iterable[InputRejection], partly: Iterable[InputRejection]
) -> list[dict[str, Any]]:
    """List rejections for a response: complete ones, then partial ones."""
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


def _answer(receipt: BatchReceipt, now: datetime) -> Response:
    """Respond with 200 if anything was accepted, else with the status of the first reason."""
    refusals = [entry.rejection for entry in receipt.rejections]
    stored = receipt.stored + len(receipt.new_events)
    duplicate = receipt.duplicate + receipt.repeated_events
    outcome: dict[str, Any] = {
        "stored": stored,
        "duplicate": duplicate,
        "conflict": receipt.conflict,
        "rejected": len(refusals),
        "reasons": describe_rejections(refusals, (entry.rejection for entry in receipt.withheld)),
    }
    if refusals and not stored + duplicate + receipt.conflict:
        first = refusals[0]
        return make_problem_response(
            get_rejection_status(first.code),
            first.code,
            first.detail,
            outcome,
            build_retry_header(first.code, now),
        )
    return Response(_encode(outcome), media_type=_JSON)


async def read_ingest_body(request: Request, intake: DecodedBatch) -> bytes:
    """Read a body into a batch, and decompress it if it is declared as gzip.

    Raises:
        UnreadableBodyError: as `read_body` does.
        RejectedError: as `decompress_gzip` does.
    """
    body = await read_body(request, encodings=_GZIP)
    intake.messages = [ReceivedMessage(None, body)]
    if read_content_encoding(request) in _GZIP:
        body = decompress_gzip(body, get_resource(request.app, ApiSettings).max_body_bytes)
        intake.messages = [ReceivedMessage(None, body)]
    return body


def make_decode_context(request: Request, now: datetime, box: str | None = None) -> DecodeContext:
    """Return the decode context of a request that arrived now, from the account of a box if one is given."""
    return DecodeContext(
        box,
        from_datetime(now),
        round(get_resource(request.app, IngestSettings).max_future_s * US_PER_S),
        get_resource(request.app, ApiSettings).max_body_bytes,
    )


def rewrite_payload_as_json(intake: DecodedBatch) -> None:
    """Replace the payload of a single sample in another format by Vigie's JSON, in case it is quarantined.

    By HTTP no topic names the format, which an operator and a replay would need.
    """
    if len(intake.rows) == 1:
        sample = encode_sample(intake.rows[0])
        intake.messages = [
            ReceivedMessage(None, b'{"box": "%b", "samples": [%b]}' % (intake.boxes[0].encode(), sample))
        ]


async def ingest_request(
    request: Request,
    intake: DecodedBatch,
    decoding: Awaitable[None],
    now: datetime,
    *,
    tree: UUID,
    box: str | None = None,
) -> Response:
    """Decode a request, commit its content with the rejections, and build the response.

    Args:
        request: The request.
        intake: The batch that `decoding` fills.
        decoding: Reads and decodes the body. RejectedError and VigieError refuse the whole body.
        now: The time of arrival.
        tree: The integrator of the sender, or its organisation.
        box: The box, if the account identifies it.

    Raises:
        VigieError: the one of `decoding`; UnavailableError if nothing could be stored.
    """
    refused: VigieError | None = None
    rejection: InputRejection | None = None
    try:
        await decoding
    except RejectedError as error:
        rejection = error.rejection()
    except VigieError as error:
        refused, rejection = error, InputRejection(error.code, error.detail)
    if rejection is not None:
        intake.refuse(0, box, rejection)
    committer = get_resource(request.app, HttpIngestContext).committer
    receipt = await committer.commit(intake, CallSender(tree, intake.organisation_id), now)
    if refused is not None:
        raise refused
    return _answer(receipt, now)
