"""Accepts samples by HTTP (`POST /v1/telemetry`), and refuses them with the same codes as by MQTT."""

import json
from datetime import UTC, datetime
from email.message import Message
from itertools import islice
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Request, Response

from app.catalogue.metrics import METRICS_BY_NAME
from app.ingest.adapters.adapter_registry import BY_MEDIA_TYPE
from app.ingest.adapters.adapter_types import FormatAdapter, adapt_decoded
from app.ingest.adapters_router import router as pushes
from app.ingest.codec.batch_decoder import add_adapted_message, add_foreign_message
from app.ingest.codec.decoded_batch import DecodedBatch, ReceivedMessage
from app.ingest.codec.telemetry_codec import decode_http_telemetry
from app.ingest.event_ingest_router import router as events
from app.ingest.http_ingest_service import (
    MEASUREMENT_FIELDS,
    IngestRoute,
    TelemetryOutcome,
    ingest_request,
    make_decode_context,
    read_ingest_body,
    rewrite_payload_as_json,
)
from app.platform.http.contract.fields import BOX_ID_PATTERN
from app.platform.http.contract.problems import document_problems
from app.platform.http.contract.strict_body import check_media_type
from app.platform.identity.caller_authentication import Principal, require_scope

router = APIRouter(tags=["Telemetry"], route_class=IngestRoute)

_UNITS: Final = {
    "type": "object",
    "propertyNames": {"enum": sorted(METRICS_BY_NAME)},
    # No enumeration: client generators derive a name from each value and fail on %.
    "additionalProperties": {"type": "string", "examples": ["ppb", "ppm", "µg/m³", "mg/m³"]},
}
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
    "title": "Telemetry",
    "description": "Samples of one box.",
    "type": "object",
    "required": ["box", "samples"],
    "additionalProperties": False,
    "properties": {
        "box": {"type": "string", "pattern": BOX_ID_PATTERN, "description": "The box that took the samples"},
        "samples": {
            "type": "array",
            "minItems": 1,
            "maxItems": 1000,
            "items": {
                "title": "Sample",
                "description": "The measurements of a box at one time.",
                "type": "object",
                "required": ["time", "values"],
                "additionalProperties": False,
                "properties": {
                    **MEASUREMENT_FIELDS,
                    "values": {
                        "type": "object",
                        "minProperties": 1,
                        "propertyNames": {"enum": sorted(METRICS_BY_NAME)},
                        "additionalProperties": {"type": "number"},
                        "description": "Values by metric name, in the metric's unit (`GET /v1/metrics`)",
                    },
                    "units": {
                        **_UNITS,
                        "description": "Units of values that are not in the metric's unit, such as `ppb` for "
                        "`no2`. `GET /v1/metrics` lists the accepted units",
                    },
                },
            },
        },
        "units": {**_UNITS, "description": "Units for all samples. `units` of a sample override them"},
    },
    "example": _EXAMPLE,
}


_GZIP_HEADER: Final = {
    "name": "Content-Encoding",
    "in": "header",
    "required": False,
    "description": "`gzip` if the body is compressed",
    "schema": {"type": "string", "enum": ["gzip"]},
}


def _body(adapter: FormatAdapter) -> dict[str, Any]:
    schema: dict[str, Any] = {"description": adapter.title}
    if adapter.example is None:
        return {"schema": schema | {"type": "string", "format": "binary"}}
    if isinstance(adapter.example, dict):
        return {"schema": schema | {"type": "object"}, "example": adapter.example}
    # As a string: generated clients choose the type of the body by its class, which a list does not have.
    return {"schema": schema | {"type": "string"}, "example": json.dumps(adapter.example)}


_BODIES: Final[dict[str, Any]] = {
    "application/json": {"schema": _SCHEMA},
    **{media_type: _body(adapter) for media_type, adapter in BY_MEDIA_TYPE.items()},
}


_JSON: Final = "application/json"


def _adapter(content_type: str) -> FormatAdapter | None:
    """Return the adapter of the declared media type; None for JSON and unknown types."""
    if content_type == _JSON:  # the usual case; parsing it costs 20 µs
        return None
    message = Message()
    message["content-type"] = content_type
    return BY_MEDIA_TYPE.get(message.get_content_type())


async def _decode_body(request: Request, intake: DecodedBatch, now: datetime) -> None:
    """Read and decode a body.

    Raises:
        RejectedError: The whole body is refused.
        UnreadableBodyError: The body cannot be read.
    """
    body = await read_ingest_body(request, intake)
    context = make_decode_context(request, now)
    content_type = request.headers.get("content-type", "")
    adapter = _adapter(content_type)
    if adapter is not None:
        add_foreign_message(intake, 0, adapter, context)
        rewrite_payload_as_json(intake)
        return
    if content_type != _JSON:
        check_media_type(request, body)
    box, decoded = decode_http_telemetry(body, context.now_us, context.max_future_us)
    add_adapted_message(intake, 0, adapt_decoded(body, box, decoded))
    if not decoded.rejections:
        intake.positions.extend(range(len(intake.rows)))
        return
    refused = {each.index for each in decoded.rejections}
    positions = (position for position in range(len(intake.rows) + len(refused)) if position not in refused)
    intake.positions.extend(islice(positions, len(intake.rows)))


@router.post(
    "/v1/telemetry",
    summary="Send samples of a box",
    response_model=TelemetryOutcome,
    responses=document_problems(403, 404),
    openapi_extra={"parameters": [_GZIP_HEADER], "requestBody": {"required": True, "content": _BODIES}},
)
async def post_telemetry(
    request: Request, principal: Annotated[Principal, Depends(require_scope("telemetry:write"))]
) -> Response:
    """Store up to 1,000 samples of one box. The response is sent after the commit.

    Valid samples are stored even if others of the same request are refused: `reasons` lists the refused ones.
    If no sample can be stored, the response has the status of the first reason. Sending the same request
    again is safe: repeats are counted and stored once.

    The body may be in another format, declared by its Content-Type (docs/adapters.md), and compressed with
    `Content-Encoding: gzip`.
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


router.include_router(pushes)
router.include_router(events)
