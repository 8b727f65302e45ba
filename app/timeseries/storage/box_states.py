"""What a writer of samples must know of each box: how far its samples go, latest values, its rules' states.

The consumer keeps the states of its boxes in memory from batch to batch. That is sound because nobody else
writes samples of a box that is not shared (`boxes.shared_until`), and because whoever takes rules or boxes
away closes the gate (`app.platform.db.ingest_barrier`) and changes the registry, upon which the states
concerned are dropped.

They are written back to `box_states` in the transaction of a batch: at once when a rule's state or, by a late
sample, an older value has changed; otherwise when the box has been ahead of its row for some seconds or some
samples. So a dropped state can always be read again: the row, and what `samples` holds beyond `newest_us`.
"""

from collections.abc import Iterable, Sequence
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from app.platform.db.database import RawConnection
from app.platform.kernel.instants import US_PER_S
from app.registry.refusal_counts import NOTED_EVERY_S
from app.timeseries.storage.latest_values import (
    NEWER_VALUES_SQL,
    LatestValues,
    advance_latest,
    apply_newer_row,
    split_by_recency,
)
from app.timeseries.storage.sample_columns import ColumnValues

type Slots = NDArray[np.intp]
type Times = NDArray[np.int64] | np.int64
type Tail = tuple[int, int | None, ColumnValues]
"""A sample as decoded: µs since the epoch, `seq`, values."""

_decode = msgspec.json.Decoder(dict[str, list[Any]]).decode
_encode = msgspec.json.Encoder().encode

NEVER: Final = -1
"""`newest` of a box without samples."""
NO_KIND: Final = -1
"""`kinds` of a box without a tail."""
NOT_DUE: Final = np.iinfo(np.int64).max
"""`due` of a box that has to be looked at only when something comes."""
UNMARKED: Final = -1
"""`marked` of a box of which no hour is known to be marked."""

# How far a box may be ahead of its row. The seconds bound what is written when many samples come; the number
# bounds what a reader has to look through, and the next consumer when this one is killed.
_MAX_LAG_US: Final = NOTED_EVERY_S * US_PER_S
_MAX_LAG_SAMPLES: Final = 256
# How many are written back in one batch for their age alone, the oldest first: a large fleet takes turns.
_AGED_MOST: Final = 64
_LONG_AGO: Final = -(10**15)
# A box whose newest sample is older than this when it is heard delivers what it had kept: its silence is not
# judged by the clock on the wall then, before it has been unheard for as long.
_DELIVERY_US: Final = 60_000_000
_NO_SKEW: Final = np.iinfo(np.int64).max
_INITIAL_SLOTS: Final = 64

_READ: Final = """
SELECT box_key, latest, rules, coalesce(newest_us, -1) AS newest_us, exact, due_us,
       coalesce(extract(epoch FROM last_sample_at) * 1000000, 0)::bigint AS heard_us, samples
FROM box_states WHERE box_key = ANY($1::int[]) ORDER BY box_key
"""
# What is NULL stays as it is. last_sample_at goes with all that came in, late and repeated samples among it.
_WRITE: Final = """
UPDATE box_states b
SET latest = coalesce(c.latest::jsonb, b.latest),
    rules = coalesce(c.rules::jsonb, b.rules),
    newest_us = coalesce(c.newest_us, b.newest_us),
    exact = coalesce(c.exact, b.exact),
    last_sample_at = greatest(
        b.last_sample_at, 'epoch'::timestamptz + c.heard_us * interval '1 microsecond'
    ),
    samples = b.samples + c.samples,
    late = b.late + c.late,
    clock_skew_ms = coalesce(c.skew_us / 1000.0, b.clock_skew_ms),
    due_us = CASE WHEN c.latest IS NULL THEN b.due_us ELSE c.due_us END
FROM unnest($1::int[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[], $6::text[], $7::text[],
            $8::bigint[], $9::boolean[], $10::bigint[])
    AS c (box_key, heard_us, samples, late, skew_us, latest, rules, newest_us, exact, due_us)
WHERE b.box_key = c.box_key
"""


def compute_grace_end_us(newest: Times, heard: Times) -> Times:
    """Up to when boxes that deliver what they had kept are to be given time (µs), 0 for all others.

    Args:
        newest: the times of their newest samples (µs).
        heard: when something came of them last (µs).
    """
    return np.where(newest < heard - _DELIVERY_US, heard + _DELIVERY_US, 0)


class BoxStates:
    """The states in memory. A box's slot is its place in every column.

    Attributes:
        slots: box key → slot.
        newest: µs since the epoch of the box's newest sample, NEVER where it has none.
        busy: whether a rule is not at rest on the box.
        kinds: which metrics the box's tail has (`app.timeseries.storage.sample_columns`).
        tails: the box's newest sample, as long as it is not in `latest`.
        latest: metric → [value, µs] of the newest sample that has it, the tail left out.
        rules: rule id → state, where a rule is not at rest.
        due: when the box has to be looked at though nothing comes (µs since the epoch), else NOT_DUE.
        marked: the hour (since the epoch) that was marked last for its roll-up, else UNMARKED.
        marks_epoch: of which epoch of marks that is (`app.timeseries.rollups.stale_marks`).
        extras: whatever else is kept of the box as long as it is in memory; made and known by the caller.
        totals: box key → how many samples its row has counted, of the boxes whose rows were locked.
    """

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Forget all: after a transaction that failed, memory may be ahead of the database."""
        self.slots: dict[int, int] = {}
        self.latest: list[LatestValues] = []
        self.rules: list[dict[str, list[Any]]] = []
        self.tails: list[Tail | None] = []
        self._keys: list[int] = []
        self._free: list[int] = []
        self.newest = np.full(_INITIAL_SLOTS, NEVER, np.int64)
        self.busy = np.zeros(_INITIAL_SLOTS, np.bool_)
        self.kinds = np.full(_INITIAL_SLOTS, NO_KIND, np.int64)
        self.due = np.full(_INITIAL_SLOTS, NOT_DUE, np.int64)
        self.marked = np.full(_INITIAL_SLOTS, UNMARKED, np.int64)
        self.marks_epoch = -1
        self.extras: dict[int, Any] = {}
        self.totals: dict[int, int] = {}
        self._row_due = np.full(_INITIAL_SLOTS, NOT_DUE, np.int64)
        self._heard = np.zeros(_INITIAL_SLOTS, np.int64)
        # Since the row was written last:
        self._samples = np.zeros(_INITIAL_SLOTS, np.int64)
        self._late = np.zeros(_INITIAL_SLOTS, np.int64)
        self._skew = np.full(_INITIAL_SLOTS, _NO_SKEW, np.int64)
        self._written = np.zeros(_INITIAL_SLOTS, np.int64)
        self._dirty = np.zeros(_INITIAL_SLOTS, np.bool_)

    # -- in and out of memory

    async def recall(self, connection: RawConnection, keys: Iterable[int], *, lock: bool = False) -> None:
        """Read the states that are not in memory; with `lock`, nobody else can until the transaction ends.

        A box whose row is gone is being purged: it gets a state that is written nowhere.
        """
        missing = [key for key in keys if key not in self.slots]
        if not missing:
            return
        rows = await connection.fetch(f"{_READ} FOR UPDATE" if lock else _READ, missing)
        lagging = {row["box_key"]: row["newest_us"] for row in rows if not (lock and row["exact"])}
        # Here this is the only writer, and will be ahead of them: then none may say that it is exact.
        stale = set() if lock else {row["box_key"] for row in rows if row["exact"]}
        known = {
            row["box_key"]: (_decode(row["latest"]), _decode(row["rules"]), row["newest_us"]) for row in rows
        }
        dues = {row["box_key"]: row["due_us"] for row in rows if row["due_us"] is not None}
        heard = {row["box_key"]: row["heard_us"] for row in rows}
        if lock:
            self.totals |= {row["box_key"]: row["samples"] for row in rows}
        newer = {
            row["box_key"]: dict(row)
            for batch in split_by_recency(lagging)
            for row in await connection.fetch(NEWER_VALUES_SQL, *batch)
        }
        slots = self._take_slots(len(missing))
        newest_of: list[int] = []
        for key, slot in zip(missing, slots, strict=True):
            latest, rules, newest = known.get(key, ({}, {}, NEVER))
            if key in newer:
                newest = apply_newer_row(latest, newer[key])
            self.slots[key] = slot
            self._keys[slot], self.latest[slot], self.rules[slot], self.tails[slot] = key, latest, rules, None
            newest_of.append(newest)
        chosen = np.array(slots, np.intp)
        self.newest[chosen] = newest_of
        self.busy[chosen] = [bool(self.rules[slot]) for slot in slots]
        self.kinds[chosen] = NO_KIND
        self.marked[chosen] = UNMARKED
        self.due[chosen] = self._row_due[chosen] = [dues.get(key, NOT_DUE) for key in missing]
        self._heard[chosen] = [heard.get(key, 0) for key in missing]
        self._written[chosen] = _LONG_AGO
        self._mark_written(chosen)
        self._dirty[chosen] = [key in stale for key in missing]

    @staticmethod
    async def peek(
        connection: RawConnection, keys: Sequence[int]
    ) -> tuple[dict[int, LatestValues], dict[int, int]]:
        """The latest values of boxes that others write to, as they are committed; nothing is kept.

        Returns:
            Key → latest values; key → up to when it is to be given time (`compute_grace_end_us`).
        """
        if not keys:
            return {}, {}
        rows = await connection.fetch(_READ, list(keys))
        found: dict[int, LatestValues] = {row["box_key"]: _decode(row["latest"]) for row in rows}
        newest = {row["box_key"]: row["newest_us"] for row in rows}
        for batch in split_by_recency({row["box_key"]: row["newest_us"] for row in rows if not row["exact"]}):
            for row in await connection.fetch(NEWER_VALUES_SQL, *batch):
                newest[row["box_key"]] = apply_newer_row(found[row["box_key"]], dict(row))
        return found, {
            row["box_key"]: int(
                compute_grace_end_us(np.int64(newest[row["box_key"]]), np.int64(row["heard_us"]))
            )
            for row in rows
        }

    def _take_slots(self, count: int) -> list[int]:
        """Slots that are free, or new; what they begin with is for the caller to say."""
        slots = [self._free.pop() for _ in range(min(count, len(self._free)))]
        total = len(self._keys)
        more = count - len(slots)
        slots += range(total, total + more)
        self._keys += [0] * more
        self.latest += [{}] * more
        self.rules += [{}] * more
        self.tails += [None] * more
        while len(self.newest) < len(self._keys):
            self._grow()
        return slots

    def _grow(self) -> None:
        """Double the columns."""
        for name in (
            "newest",
            "busy",
            "kinds",
            "due",
            "marked",
            "_row_due",
            "_heard",
            "_samples",
            "_late",
            "_skew",
            "_written",
            "_dirty",
        ):
            column = getattr(self, name)
            setattr(self, name, np.concatenate([column, np.zeros_like(column)]))

    async def drop(self, connection: RawConnection, keys: Iterable[int]) -> None:
        """Forget these boxes; what was counted is written, all else may be somebody else's by now."""
        slots = [self.slots[key] for key in keys if key in self.slots]
        await self._write(connection, [slot for slot in slots if self._samples[slot]], None)
        for slot in slots:
            del self.slots[self._keys[slot]]
            self.extras.pop(slot, None)
            # Nobody looks at a box that is not here.
            self.due[slot] = NOT_DUE
            self._free.append(slot)

    # -- what a batch changes

    def advance_in_order(
        self, slots: Slots, newest: NDArray[np.int64], counts: NDArray[np.int64], now_us: int
    ) -> None:
        """Take note of boxes all of whose samples in this batch are new and in order.

        Args:
            slots: each once.
            newest: the time of the last sample of each (µs).
            counts: how many each sent.
            now_us: when they came in (µs).
        """
        self.newest[slots] = newest
        self._heard[slots] = now_us
        self._samples[slots] += counts
        self._skew[slots] = np.minimum(self._skew[slots], now_us - newest)

    def settle(self, slot: int) -> LatestValues:
        """Bring the tail into `latest`, and return that: what is known of the box, whole."""
        latest, tail = self.latest[slot], self.tails[slot]
        if tail is not None:
            advance_latest(latest, ((tail[0], tail[2]),))
            self.tails[slot] = None
            self.kinds[slot] = NO_KIND
        return latest

    def advance_slowly(
        self, slot: int, fresh: Sequence[tuple[int, ColumnValues]], sent: int, now_us: int
    ) -> int:
        """Take note of a box whose samples were late, repeated or out of order; returns how many were late.

        Args:
            slot: the box, settled.
            fresh: those that were stored.
            sent: how many came, repeats among them.
            now_us: when they came in (µs).
        """
        late = advance_latest(self.latest[slot], fresh)
        newest = max((time_us for time_us, _ in fresh), default=NEVER)
        if newest > self.newest[slot]:
            self.newest[slot] = newest
            self._skew[slot] = min(int(self._skew[slot]), now_us - newest)
        # An older value may have moved, which nobody would find beyond `newest`.
        self._dirty[slot] |= bool(fresh)
        self._heard[slot] = now_us
        self._samples[slot] += sent
        self._late[slot] += late
        return late

    def rules_changed(self, slot: int) -> None:
        """The box's rules' states were changed in place: they are written in this transaction."""
        self.busy[slot] = bool(self.rules[slot])
        self._dirty[slot] = True

    def get_grace_end_us(self, slot: int) -> int:
        """Up to when a box that delivers what it had kept is to be given time (µs), 0 for any other."""
        return int(compute_grace_end_us(self.newest[slot], self._heard[slot]))

    def set_due(self, slot: int, due_us: int | None) -> None:
        """Say when the box has to be looked at; its row may say an earlier time, never a later one."""
        self.due[slot] = NOT_DUE if due_us is None else due_us
        if self.due[slot] < self._row_due[slot]:
            self._dirty[slot] = True

    def set_dues(self, slots: Slots, due_us: NDArray[np.int64]) -> None:
        """The same for many boxes at once, none of which is not due."""
        self.due[slots] = due_us
        self._dirty[slots] |= due_us < self._row_due[slots]

    def touch(self, slot: int) -> None:
        """Have the box's row written in this transaction."""
        self._dirty[slot] = True

    def find_due_boxes(self, at_us: int) -> list[int]:
        """Keys of the boxes in memory that are due by this time."""
        return [self._keys[slot] for slot in np.flatnonzero(self.due[: len(self._keys)] <= at_us).tolist()]

    async def save(self, connection: RawConnection, clock_us: int, *, locked: Iterable[int] = ()) -> None:
        """Write back what must be written, what has been ahead for long enough, and what is locked.

        Args:
            connection: in the transaction that stored the samples.
            clock_us: the time by a clock that nobody sets (µs).
            locked: keys of boxes whose rows are locked: from here on they are exact.
        """
        total = len(self._keys)
        ahead = self._samples[:total]
        must = self._dirty[:total] | (ahead >= _MAX_LAG_SAMPLES)
        held = np.zeros(total, np.bool_)
        held[[self.slots[key] for key in locked]] = True
        must |= held & (ahead > 0)
        old = np.flatnonzero((ahead > 0) & (self._written[:total] <= clock_us - _MAX_LAG_US) & ~must)
        if len(old) > _AGED_MOST:
            old = old[np.argpartition(self._written[old], _AGED_MOST)[:_AGED_MOST]]
        slots = np.concatenate([np.flatnonzero(must), old])
        await self._write(connection, slots.tolist(), held)
        self._written[slots] = clock_us

    async def save_all(self, connection: RawConnection) -> None:
        """Write back every box that is ahead of its row, in a transaction that stores nothing."""
        slots = np.flatnonzero(self._samples[: len(self._keys)])
        await self._write(connection, slots.tolist(), np.zeros(len(self._keys), np.bool_))

    async def _write(
        self, connection: RawConnection, slots: Sequence[int], exact: NDArray[np.bool_] | None
    ) -> None:
        """Write rows back; without `exact`, only what was counted."""
        if not slots:
            return
        nothing = [None] * len(slots)
        whole: tuple[Sequence[Any], ...] = (nothing, nothing, nothing, nothing, nothing)
        if exact is not None:
            whole = (
                [_encode(self.settle(slot)).decode() for slot in slots],
                [_encode(self.rules[slot]).decode() for slot in slots],
                [None if value == NEVER else value for value in self.newest[slots].tolist()],
                exact[slots].tolist(),
                [None if value == NOT_DUE else value for value in self.due[slots].tolist()],
            )
            self._row_due[slots] = self.due[slots]
        for slot in slots:
            if (key := self._keys[slot]) in self.totals:
                self.totals[key] += int(self._samples[slot])
        await connection.execute(
            _WRITE,
            [self._keys[slot] for slot in slots],
            [heard or None for heard in self._heard[slots].tolist()],
            self._samples[slots].tolist(),
            self._late[slots].tolist(),
            [None if value == _NO_SKEW else value for value in self._skew[slots].tolist()],
            *whole,
        )
        self._mark_written(np.array(slots, np.intp))

    def _mark_written(self, slots: Slots) -> None:
        """These boxes' rows are as new as memory."""
        self._samples[slots] = 0
        self._late[slots] = 0
        self._skew[slots] = _NO_SKEW
        self._dirty[slots] = False
