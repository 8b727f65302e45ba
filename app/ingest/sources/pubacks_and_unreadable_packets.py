"""Encodes PUBACKs, and reads length and id of MQTT packets that cannot be decoded, to skip them.

Of a refused packet it reads the length and the packet id, and whether it was received before. Pure: no
socket, no clock.
"""

import hashlib
from array import array
from collections import OrderedDict
from collections.abc import Sequence
from sys import byteorder

_TYPE_AND_QOS = 0xF6
_PUBLISH_QOS_1 = 0x32
_DUP_FLAG = 0x08
_LENGTH_BYTES = 4  # the remaining length takes four bytes at most
_PUBACK = b"\x40"
_PUBACK_LENGTH = b"\x02"  # a packet id only: reason "success"


def encode_pubacks(packet_ids: Sequence[int | None]) -> bytes:
    """Encode one PUBACK per packet id, in order, the same in MQTT 3.1.1 and 5.

    By column, because a Python call per id would cost more than receiving the message did.

    Args:
        packet_ids: Packet ids; None (a message of QoS 0) needs no acknowledgement.

    Returns:
        Four bytes per id; empty if there is nothing to acknowledge.
    """
    ids = array("H", [packet_id for packet_id in packet_ids if packet_id is not None])
    if byteorder == "little":
        ids.byteswap()
    numbers = ids.tobytes()
    count = len(ids)
    out = bytearray(4 * count)
    out[0::4] = _PUBACK * count
    out[1::4] = _PUBACK_LENGTH * count
    out[2::4] = numbers[0::2]
    out[3::4] = numbers[1::2]
    return bytes(out)


def packet_length(data: memoryview | bytes) -> int | None:
    """Return the length in bytes of the packet at the start of data, with its fixed header.

    Returns:
        None while the fixed header is incomplete.

    Raises:
        ValueError: The remaining length is longer than four bytes, so that the packet cannot be skipped.
    """
    length = 0
    for index, byte in enumerate(data[1 : 1 + _LENGTH_BYTES]):
        length |= (byte & 0x7F) << (7 * index)
        if byte < 0x80:  # noqa: PLR2004 - the continuation bit of MQTT's variable byte integer
            return 2 + index + length
    if len(data) > _LENGTH_BYTES:
        raise ValueError("remaining length of more than four bytes")
    return None


def _packet_id_at(raw: bytes) -> int | None:
    """Return the offset of the packet id in a PUBLISH of QoS 1; None for others or if it is missing."""
    if raw[0] & _TYPE_AND_QOS != _PUBLISH_QOS_1:
        return None
    body = 1
    while body < len(raw) and raw[body] & 0x80:
        body += 1
    body += 1
    at = body + 2 + int.from_bytes(raw[body : body + 2], "big")
    return at if at + 2 <= len(raw) else None


def publish_packet_id(raw: bytes) -> int | None:
    """Return the packet id of a raw PUBLISH that its codec refused, if it has one."""
    at = _packet_id_at(raw)
    return None if at is None else int.from_bytes(raw[at : at + 2], "big") or None


class PoisonLedger:
    """Remembers unreadable packets, so that one that is delivered again cannot block the stream for ever.

    A repeat may differ in its DUP flag and its packet id; both are ignored in the comparison.

    Args:
        sightings: Deliveries after which a packet is skipped.
        capacity: Number of remembered packets; the oldest are evicted first.
    """

    def __init__(self, *, sightings: int = 3, capacity: int = 1024) -> None:
        self._sightings = sightings
        self._capacity = capacity
        self._seen: OrderedDict[bytes, int] = OrderedDict()

    def skip(self, raw: bytes) -> bool:
        """Record one delivery of a raw packet; True if it is to be skipped from now on."""
        at = _packet_id_at(raw)
        digest = hashlib.blake2b(bytes((raw[0] & ~_DUP_FLAG,)), digest_size=16)
        digest.update(raw[1:at] if at is not None else raw[1:])
        if at is not None:
            digest.update(raw[at + 2 :])
        key = digest.digest()
        count = self._seen.pop(key, 0) + 1
        self._seen[key] = count
        if len(self._seen) > self._capacity:
            self._seen.popitem(last=False)
        return count >= self._sightings
