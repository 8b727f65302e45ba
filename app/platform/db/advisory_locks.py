"""The numbers of PostgreSQL's advisory locks, which know no names: each stands here, and none stands twice.

A process of an older release may hold any of them: a number is never given to another purpose.
"""

from typing import Final

MIGRATION: Final = 7_309_021_174
"""One migrator at a time."""

CONSUMER: Final = 7_309_021_175
"""One consumer works, others stand by."""

MAINTAINER: Final = 7_309_021_176
"""One maintainer works, others stand by."""

CONFIG_PUBLISHER: Final = 7_309_021_177
"""One process at a time publishes desired configurations."""

INGEST_BARRIER: Final = 7_309_021_178
"""The ingest barrier: batches share it, a change of what they rely on holds it alone (migration 0002)."""

STREAM_POSITIONS: Final = 7_309_021_179
"""Events get their places in streams from one fan-out at a time, until it is committed."""

BARRIER_QUEUE: Final = 7_309_021_180
"""One at a time waits to close the gate: who comes later stands behind the batches that wait for that one."""
