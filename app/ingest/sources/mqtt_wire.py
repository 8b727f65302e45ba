"""Pieces of the MQTT wire format that both sources share.

Owns the encoding of many PUBACKs at once and the reading of what a packet codec refuses: its length,
its packet id, whether it was seen before. Pure: no socket, no clock.
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

    Column by column, because a Python call per id would cost more than receiving the message did.

    Args:
        packet_ids: Packet ids; None (a message of QoS 0) needs no acknowledgement.

    Returns:
        Four bytes per id; empty when there is nothing to acknowledge.
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
    """Length in bytes of the packet that begins at the start of data, fixed header included.

    Returns:
        None while the fixed header is incomplete.

    Raises:
        ValueError: The remaining length is longer than four bytes: nothing can be skipped then.
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
    """Offset of the packet id in a PUBLISH of QoS 1; None for others and where it cannot be found."""
    if raw[0] & _TYPE_AND_QOS != _PUBLISH_QOS_1:
        return None
    body = 1
    while body < len(raw) and raw[body] & 0x80:
        body += 1
    body += 1
    at = body + 2 + int.from_bytes(raw[body : body + 2], "big")
    return at if at + 2 <= len(raw) else None


def publish_packet_id(raw: bytes) -> int | None:
    """Packet id of a raw PUBLISH that its codec refused, where one is there to be read."""
    at = _packet_id_at(raw)
    return None if at is None else int.from_bytes(raw[at : at + 2], "big") or None


class PoisonLedger:
    """Remembers unreadable packets, so that one that comes again cannot stop the stream for ever.

    A repeat may differ in its DUP flag and its packet id; both are left out of the comparison.

    Args:
        sightings: How often a packet must be seen until it is to be skipped.
        capacity: How many packets are remembered, the oldest are forgotten first.
    """

    def __init__(self, *, sightings: int = 3, capacity: int = 1024) -> None:
        self._sightings = sightings
        self._capacity = capacity
        self._seen: OrderedDict[bytes, int] = OrderedDict()

    def skip(self, raw: bytes) -> bool:
        """Note one sighting of a whole raw packet; True when it is to be skipped from now on."""
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
