"""Makes positions measure bytes, for engines whose nodes refuse no record and report no size. Pure.

RabbitMQ streams and Kafka topics number messages, and know no bytes. So a record takes one position for each
`UNIT_BYTES` that it has: its data, after empty messages. The distance of two positions is then an upper
bound of the bytes between them, whoever appended the records. A record counts `UNIT_BYTES` at least.
"""

from typing import Final

UNIT_BYTES: Final = 4096
"""The bytes for which a position stands."""


def count_units(size: int) -> int:
    """Return how many positions a record of some bytes takes."""
    return max(1, -(-size // UNIT_BYTES))


def measure_bytes(oldest: int, newest: int) -> int:
    """Return the most bytes that the records from a position to another one have."""
    return max(0, newest + 1 - oldest) * UNIT_BYTES
