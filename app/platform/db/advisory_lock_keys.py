"""Defines the keys of PostgreSQL's advisory locks, which are plain numbers: each must be unique.

A process of an older release may hold any of them: never reuse a number.
"""

from typing import Final

MIGRATION: Final = 7_309_021_174
"""Serialises migrations."""

CONSUMER: Final = 7_309_021_175
"""Held by the one active ingest process; others stand by."""

MAINTAINER: Final = 7_309_021_176
"""Held by the one active maintain process; others stand by."""

CONFIG_PUBLISHER: Final = 7_309_021_177
"""Held by the one process that publishes desired configurations."""

INGEST_BARRIER: Final = 7_309_021_178
"""The ingest barrier: batches share it; a change of data that they rely on takes it exclusively (migration
0002).
"""

STREAM_POSITIONS: Final = 7_309_021_179
"""Held by one fan-out at a time until its commit, while it assigns stream positions to events."""

BARRIER_QUEUE: Final = 7_309_021_180
"""Held by the one transaction that waits to close the barrier; later ones queue behind the waiting batches.
"""

MEASUREMENT_POSITIONS: Final = 7_309_021_181
"""Held by one process at a time until its commit, while it assigns positions in the measurement stream."""

PARTITION_CLASS: Final = 7_309
"""First of two numbers, of which the second is a partition of the log: held by the worker that reads it.

Workers share `CONSUMER`, so that none works beside a consumer without log.
"""
