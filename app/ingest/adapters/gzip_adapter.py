"""gzip around Vigie's own JSON, for boxes that pay for each byte.

By MQTT it has a topic of its own; by HTTP `Content-Encoding: gzip` is declared, whatever is inside, and taken
off by the door. A message that is not compressed is taken as it is.
"""

from typing import Final

from app.ingest.adapters.adapter_types import AdaptedMessage, DecodeContext, FormatAdapter, adapt_json
from app.platform.kernel.bounded_gzip import GZIP_MAGIC, decompress_gzip
from app.platform.kernel.rejection_codes import RejectedError


def decode_gzip(payload: bytes, arrival: DecodeContext) -> AdaptedMessage:
    """Decode a message of a known box."""
    if arrival.box is None:
        raise RejectedError("missing_field", "no box is named: declare gzip as the content encoding")
    if not payload.startswith(GZIP_MAGIC):
        return adapt_json(payload, arrival.box, arrival)
    inflated = decompress_gzip(payload, arrival.max_bytes)
    adapted = adapt_json(inflated, arrival.box, arrival)
    # What was refused is kept as text: on this topic that is read as well.
    adapted.refusals = [
        each if each.part is not None else each._replace(part=inflated) for each in adapted.refusals
    ]
    adapted.inflated = len(inflated)
    return adapted


ADAPTER: Final = FormatAdapter(
    "gzip",
    "JSON telemetry, compressed with gzip (RFC 1952)",
    decode_gzip,
    topic="vigie/v1/{box}/telemetry/gzip",
)
