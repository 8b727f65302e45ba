"""How messages reach an adapter in these tests, and how what it makes of them is looked at."""

from typing import Any

from app.catalogue.metrics import COLUMNS
from app.ingest.adapters.adapter_types import AdaptedMessage, DecodeContext, MessageDecoder
from app.ingest.codec.telemetry_codec import MAX_FUTURE_US
from app.platform.kernel.instants import format_us, parse_rfc3339
from app.platform.kernel.rejection_codes import RejectedError

NOW = parse_rfc3339("2026-11-24T10:00:05Z")


def arrival(box: str | None = "box-0001", *, now_us: int = NOW, max_bytes: int = 2**20) -> DecodeContext:
    return DecodeContext(box, now_us, MAX_FUTURE_US, max_bytes)


def samples(adapted: AdaptedMessage) -> list[dict[str, Any]]:
    """The samples as a reader of JSON would write them."""
    return [
        {
            "box": box,
            "time": format_us(time_us),
            **({} if seq is None else {"seq": seq}),
            "values": {name: value for name, value in zip(COLUMNS, row, strict=True) if value is not None},
        }
        for box, (time_us, seq, row) in adapted.samples
    ]


def refusals(adapted: AdaptedMessage) -> list[tuple[int | None, str | None, str]]:
    return [(each.rejection.index, each.box, each.rejection.code) for each in adapted.refusals]


def code_of(decode: MessageDecoder, payload: bytes, known: DecodeContext) -> str:
    """The code with which all of a message is refused, raised or given back."""
    try:
        adapted = decode(payload, known)
    except RejectedError as error:
        return error.code
    assert adapted.samples == []
    (refusal,) = adapted.refusals
    assert refusal.rejection.detail
    return refusal.rejection.code
