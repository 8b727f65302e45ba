"""Encodes messages that an edge received as a record of the log, and decodes it. Pure.

A record is compressed with Zstandard: messages resemble each other, and the nodes of the log copy, send and
write each byte several times. A short record stays as it is.
"""

import sys
from typing import Final
from zlib import crc32

import msgspec

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

MOST_DECODED_BYTES: Final = 8 * 2**20
"""The most bytes of a record before its compression; more than any engine's `max_record_bytes`."""

# Below it, the compression costs more than it saves.
_LEAST_COMPRESSED_BYTES: Final = 1024
_OPTIONS: Final[dict[int, int]] = {
    zstd.CompressionParameter.compression_level: 1,
    zstd.CompressionParameter.checksum_flag: 1,
}
_DIGEST_BYTES: Final = 1024
_FRAME: Final = b"\x28\xb5\x2f\xfd"  # no record in MessagePack begins with it


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


_encoder: Final = msgspec.msgpack.Encoder()
_decoder: Final = msgspec.msgpack.Decoder(LogRecord)
_compressor: Final = zstd.ZstdCompressor(options=_OPTIONS)


def encode_record(record: LogRecord) -> bytes:
    """Encode a record. The result is never larger than its MessagePack."""
    plain = _encoder.encode(record)
    if len(plain) < _LEAST_COMPRESSED_BYTES:
        return plain
    compressed = _compressor.compress(plain, mode=zstd.ZstdCompressor.FLUSH_FRAME)
    return min(compressed, plain, key=len)


def decode_record(data: bytes) -> tuple[LogRecord, int]:
    """Decode a record.

    Returns:
        The record, and its size in bytes before the compression.

    Raises:
        ValueError: It is no record, or one above `MOST_DECODED_BYTES`.
    """
    try:
        plain = _decompress(data) if data.startswith(_FRAME) else data
        return _decoder.decode(plain), len(plain)
    except (zstd.ZstdError, msgspec.MsgspecError) as error:
        raise ValueError(f"no record of an edge: {error}") from error


def _decompress(data: bytes) -> bytes:
    decompressor = zstd.ZstdDecompressor()
    plain = decompressor.decompress(data, max_length=MOST_DECODED_BYTES)
    if not decompressor.eof or decompressor.unused_data:
        raise ValueError("a compressed record that is truncated, too large, or followed by other bytes")
    return plain


def compute_record_digest(data: bytes) -> int:
    """Return a number by which a stored record is recognised: of its length, its first and its last bytes."""
    return len(data) << 32 | crc32(data[-_DIGEST_BYTES:], crc32(data[:_DIGEST_BYTES]))
