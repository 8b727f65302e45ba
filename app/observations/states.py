"""The rows of `box_states`: each box's latest values and the state of its rules.

A batch locks the rows of its boxes, in the order of their keys, before anything else: two writers never hold
the same box at once, and never wait for each other in a circle.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from app.core.database import RawConnection
from app.sites.catalogue import COLUMNS

_decode = msgspec.json.Decoder(dict[str, list[Any]]).decode
_encode = msgspec.json.Encoder().encode


@dataclass(slots=True)
class BoxMemory:
    """What is known of one box before a batch, and, after it, what to write back.

    Attributes:
        latest: metric → [value, µs since the epoch] of its newest sample.
        rules: rule id → state, only where a rule is not at rest.
        changed: whether there is anything to write back.
    """

    latest: dict[str, list[Any]]
    rules: dict[str, list[Any]]
    changed: bool = False


async def lock_states(connection: RawConnection, box_keys: Iterable[int]) -> dict[int, BoxMemory]:
    """Lock and read the rows of these boxes, in the caller's transaction."""
    rows = await connection.fetch(
        "SELECT box_key, latest, rules FROM box_states WHERE box_key = ANY($1::int[]) "
        "ORDER BY box_key FOR UPDATE",
        sorted(box_keys),
    )
    return {key: BoxMemory(_decode(latest), _decode(rules)) for key, latest, rules in rows}


async def save_states(connection: RawConnection, memories: Mapping[int, BoxMemory]) -> None:
    """Write back what changed. The rows are locked by `lock_states`."""
    changed = [(key, memory) for key, memory in memories.items() if memory.changed]
    if not changed:
        return
    await connection.execute(
        "UPDATE box_states b SET latest = c.latest::jsonb, rules = c.rules::jsonb "
        "FROM unnest($1::int[], $2::text[], $3::text[]) AS c (box_key, latest, rules) "
        "WHERE b.box_key = c.box_key",
        [key for key, _ in changed],
        [_encode(memory.latest).decode() for _, memory in changed],
        [_encode(memory.rules).decode() for _, memory in changed],
    )


def advance(memory: BoxMemory, samples: Sequence[tuple[int, tuple[float | None, ...]]]) -> int:
    """Bring a box's latest values forward with (time in µs, values) pairs.

    Returns:
        How many of the samples were late: older than the newest known of every metric that they carry.
    """
    latest = memory.latest
    late = 0
    for time_us, values in samples:
        moved = False
        for column, value in enumerate(values):
            if value is None:
                continue
            name = COLUMNS[column]
            known = latest.get(name)
            if known is None or known[1] < time_us:
                latest[name] = [value, time_us]
                moved = True
        memory.changed |= moved
        late += not moved
    return late
