"""Encodes messages that an edge received as a record of the log, and decodes it. Pure."""

from typing import Final

import msgspec


class LogRecord(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """Messages of one partition, in the order in which one broker delivered them.

    New fields go to the end, with a default: workers read records of older and newer edges.

    Attributes:
        edge: The name of the edge.
        received_at: Unix time in seconds at which the first of them arrived.
        topics: One topic per message.
        payloads: One undecoded payload per message.
        retained: Indexes (ascending) of the messages that carry the retained flag.
        correlations: MQTT 5 correlation data, by the index of its message.
        traceparents: The W3C trace context of messages, by index.
        poison: Raw packets that no codec could read.
        after: partition → position that must be committed before this record: boxes have moved from there.
    """

    edge: str
    received_at: float
    topics: list[str]
    payloads: list[bytes]
    retained: list[int] = []
    correlations: dict[int, bytes] = {}
    traceparents: dict[int, str] = {}
    poison: list[bytes] = []
    after: dict[int, int] = {}


encode_record: Final = msgspec.msgpack.Encoder().encode
_decoder: Final = msgspec.msgpack.Decoder(LogRecord)


def decode_record(data: bytes) -> LogRecord:
    """Decode a record.

    Raises:
        msgspec.MsgspecError: It is no record.
    """
    return _decoder.decode(data)
