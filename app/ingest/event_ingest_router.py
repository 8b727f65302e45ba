"""Accepts events of boxes by HTTP (`POST /v1/events`), with the same rejection codes as over MQTT."""

from datetime import UTC, datetime
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Request, Response

from app.catalogue.device_event_types import EVENT_TYPES
from app.ingest.codec.decoded_batch import DecodedBatch, ReceivedMessage
from app.ingest.codec.event_and_status_decoder import (
    MAX_COUNT,
    MAX_EVENTS,
    NAME_PATTERN,
    OCTAVES,
    decode_http_events,
)
from app.ingest.http_ingest_service import (
    MEASUREMENT_FIELDS,
    IngestRoute,
    TelemetryOutcome,
    ingest_request,
    make_decode_context,
    read_ingest_body,
)
from app.platform.content_policy.refused_payload_assessment import assess_payload
from app.platform.http.contract.fields import BOX_ID_PATTERN
from app.platform.http.contract.problems import document_problems
from app.platform.http.contract.strict_body import check_media_type
from app.platform.identity.caller_authentication import Principal, require_scope
from app.platform.kernel.rejection_codes import InputRejection, RejectedError

router: Final = APIRouter(route_class=IngestRoute)

_EXAMPLE: Final = {
    "box": "box-0001",
    "events": [{"seq": 8, "time": "2026-11-24T10:00:00Z", "type": "noise_peak", "level_db": 101.5}],
}
_NUMBER: Final = {"type": "number"}
_EVENT: Final[dict[str, Any]] = {
    "title": "EventIn",
    "description": "An event that the box recognised. Its type determines the other fields.",
    "type": "object",
    "required": ["time", "type"],
    "additionalProperties": False,
    "properties": {
        **MEASUREMENT_FIELDS,
        "type": {"type": "string", "enum": [each.name for each in EVENT_TYPES]},
        "candidates": {
            "type": "array",
            "maxItems": 32,
            "items": {
                "type": "object",
                "required": ["class", "confidence"],
                "additionalProperties": False,
                "properties": {
                    "class": {"type": "string", "pattern": NAME_PATTERN},
                    "model": {"type": "string", "pattern": NAME_PATTERN},
                    "confidence": {"type": "number", "minimum": 0, "maximum": 1},
                },
            },
        },
        "level_db": _NUMBER,
        "spectrum": {
            "type": "object",
            "description": "Sound levels in dB by octave band (Hz)",
            "minProperties": 1,
            "propertyNames": {"enum": list(OCTAVES)},
            "additionalProperties": _NUMBER,
        },
        "clock_error_ms": _NUMBER,
        "count": {"type": "integer", "minimum": 0, "maximum": MAX_COUNT},
        "state": {"type": "string", "enum": ["begin", "end"]},
    },
}
_SCHEMA: Final = {
    "title": "EventsIn",
    "description": "Events of one box.",
    "type": "object",
    "required": ["box", "events"],
    "additionalProperties": False,
    "properties": {
        "box": {"type": "string", "pattern": BOX_ID_PATTERN, "description": "The box that sent the events"},
        "events": {"type": "array", "minItems": 1, "maxItems": MAX_EVENTS, "items": _EVENT},
    },
    "example": _EXAMPLE,
}


async def _decode_body(request: Request, intake: DecodedBatch, now: datetime) -> None:
    """Read and decode a body. An undecodable body is not stored, since its purpose is unknown.

    Raises:
        RejectedError: The whole body is refused.
        UnreadableBodyError: The body cannot be read.
    """
    context = make_decode_context(request, now)
    try:
        body = await read_ingest_body(request, intake)
    finally:
        intake.messages = [ReceivedMessage(None, b"")]
    check_media_type(request, body)
    try:
        box, decoded = decode_http_events(body, context.now_us, context.max_future_us)
    except RejectedError:
        finding = assess_payload(body).finding
        if finding is not None:
            raise RejectedError(finding.code, finding.detail) from None
        raise
    # Each event as its MQTT message would be: the topic names its format in quarantine.
    intake.messages = [ReceivedMessage(f"vigie/v1/{box}/event", part) for part, _ in decoded]
    intake.has_event_per_message = True
    for position, (part, event) in enumerate(decoded):
        if isinstance(event, InputRejection):
            placed = InputRejection(event.code, event.detail, event.seq, position, event.purpose)
            intake.refuse(position, box, placed, part)
        else:
            intake.events.append((box, event, position))


@router.post(
    "/v1/events",
    summary="Send events of a box",
    response_model=TelemetryOutcome,
    responses=document_problems(403, 404),
    openapi_extra={"requestBody": {"required": True, "content": {"application/json": {"schema": _SCHEMA}}}},
)
async def post_events(
    request: Request, principal: Annotated[Principal, Depends(require_scope("telemetry:write"))]
) -> Response:
    """Store up to 100 events of one box. The response is sent after the commit.

    Valid events are stored even if others of the same request are refused: `reasons` lists the refused ones.
    If no event can be stored, the response has the status of the first reason. Sending the same request again
    is safe: repeats are counted and stored once.

    `GET /v1/event-catalogue` lists the event types and their fields. A site accepts an event type if it has
    declared its purpose (docs/purposes.md).
    """
    now = datetime.now(UTC)
    intake = DecodedBatch(
        "http",
        [ReceivedMessage(None, b"")],
        organisation_id=principal.organisation_id,
        tenant_scope=principal.visible(),
    )
    decoding = _decode_body(request, intake, now)
    return await ingest_request(request, intake, decoding, now, tree=principal.tree)
