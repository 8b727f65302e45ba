"""Caches the state of each box between batches: newest sample, latest values and rule states.

The cache is sound for two reasons. No other process writes samples of a box that is not shared
(`boxes.shared_until`). And a transaction that removes rules or boxes closes the ingest barrier
(`app.platform.db.ingest_barrier`) and changes the registry, upon which the states concerned are dropped.

States are written back to `box_states` in the transaction of a batch: immediately if a rule's state or an
older value (by a late sample) has changed, otherwise once the row lags by some seconds or samples. So a
dropped state can always be restored from the row and the samples after `newest_us`.
"""

from collections.abc import Iterable, Sequence
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from app.platform.db.database import RawConnection
from app.platform.kernel.instants import US_PER_S
from app.registry.privacy_refusal_counts import NOTED_EVERY_S
from app.timeseries.storage.latest_value_merge import (
    NEWER_VALUES_SQL,
    LatestValues,
    advance_latest,
    apply_newer_row,
    split_by_recency,
)
from app.timeseries.storage.sample_column_encoding import ColumnValues

type Slots = NDArray[np.intp]
type Times = NDArray[np.int64] | np.int64
type Tail = tuple[int, int | None, ColumnValues]
"""A decoded sample: µs since the epoch, `seq`, values."""

_decode = msgspec.json.Decoder(dict[str, list[Any]]).decode
_encode = msgspec.json.Encoder().encode

NEVER: Final = -1
"""`newest` of a box without samples."""
NO_KIND: Final = -1
"""`kinds` of a box without a tail."""
NOT_DUE: Final = np.iinfo(np.int64).max
"""`due` of a box without timers."""
UNMARKED: Final = -1
"""`marked` of a box without a known mark."""

# The lag of a row behind memory. The time limits writes when many samples arrive. The number limits the
# samples that a reader, or the next consumer after a crash, has to read beyond the row.
_MAX_LAG_US: Final = NOTED_EVERY_S * US_PER_S
_MAX_LAG_SAMPLES: Final = 256
# Rows that one batch writes back only because of their age, the oldest first: spreads out a large fleet.
_AGED_MOST: Final = 64
_LONG_AGO: Final = -(10**15)
# A box that sends samples older than this delivers its backlog. Its silence is not evaluated by the wall
# clock until nothing has arrived for as long.
_DELIVERY_US: Final = 60_000_000
_NO_SKEW: Final = np.iinfo(np.int64).max
_INITIAL_SLOTS: Final = 64

_READ: Final = """
SELECT box_key, latest, rules, coalesce(newest_us, -1) AS newest_us, exact, due_us,
       coalesce(extract(epoch FROM last_sample_at) * 1000000, 0)::bigint AS heard_us, samples
FROM box_states WHERE box_key = ANY($1::int[]) ORDER BY box_key
"""
# NULL keeps the stored value. last_sample_at counts all arrivals, late and duplicate samples included.
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
    """Return until when boxes that deliver a backlog are in their grace period (µs), 0 for all others.

    Args:
        newest: the times of their newest samples (µs).
        heard: when their last sample arrived (µs).
    """
    return np.where(newest < heard - _DELIVERY_US, heard + _DELIVERY_US, 0)


class BoxStates:
    """The cached states, in columns. A box has the same slot in every column.

    Attributes:
        slots: box key → slot.
        newest: µs since the epoch of the box's newest sample; NEVER if it has none.
        busy: whether a rule is not at rest on the box.
        kinds: bitmask of the metrics of the box's tail (`app.timeseries.storage.sample_column_encoding`).
        tails: the box's newest sample, while it is not merged into `latest`.
        latest: metric → [value, µs] of the newest sample that has it, without the tail.
        rules: rule id → state, if a rule is not at rest.
        due: when a timer of the box expires (µs since the epoch), else NOT_DUE.
        marked: the hour (since the epoch) last marked for its roll-up, else UNMARKED.
        marks_epoch: the epoch of these marks (`app.timeseries.rollups.stale_marks`).
        extras: other data that the caller caches with the box.
        totals: box key → number of samples counted in its row, for boxes whose rows were locked.
    """

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Drop all states: after a failed transaction, memory may be ahead of the database."""
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
        # Since the row was last written:
        self._samples = np.zeros(_INITIAL_SLOTS, np.int64)
        self._late = np.zeros(_INITIAL_SLOTS, np.int64)
        self._skew = np.full(_INITIAL_SLOTS, _NO_SKEW, np.int64)
        self._written = np.zeros(_INITIAL_SLOTS, np.int64)
        self._dirty = np.zeros(_INITIAL_SLOTS, np.bool_)

    # -- load and drop

    async def recall(self, connection: RawConnection, keys: Iterable[int], *, lock: bool = False) -> None:
        """Load the states that are not in memory; `lock` locks their rows until the transaction ends.

        A box whose row is missing is being purged: its state is empty, and never written.
        """
        missing = [key for key in keys if key not in self.slots]
        if not missing:
            return
        rows = await connection.fetch(f"{_READ} FOR UPDATE" if lock else _READ, missing)
        lagging = {row["box_key"]: row["newest_us"] for row in rows if not (lock and row["exact"])}
        # As the only writer of these boxes, memory will be ahead of their rows: these are no longer exact.
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
        """Read the committed latest values of boxes that other processes write; caches nothing.

        Returns:
            Key → latest values; key → end of its grace period (`compute_grace_end_us`).
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
        """Return free or new slots; the caller initialises them."""
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
        """Double the length of the columns."""
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
        """Drop these boxes. Writes only their counts: another process may have changed the rest."""
        slots = [self.slots[key] for key in keys if key in self.slots]
        await self._write(connection, [slot for slot in slots if self._samples[slot]], None)
        for slot in slots:
            del self.slots[self._keys[slot]]
            self.extras.pop(slot, None)
            # A box that is not in memory is never due.
            self.due[slot] = NOT_DUE
            self._free.append(slot)

    # -- changes by a batch

    def advance_in_order(
        self, slots: Slots, newest: NDArray[np.int64], counts: NDArray[np.int64], now_us: int
    ) -> None:
        """Record boxes whose samples in this batch are all new and in order.

        Args:
            slots: each once.
            newest: the time of the last sample of each (µs).
            counts: how many samples each sent.
            now_us: the time of arrival (µs).
        """
        self.newest[slots] = newest
        self._heard[slots] = now_us
        self._samples[slots] += counts
        self._skew[slots] = np.minimum(self._skew[slots], now_us - newest)

    def settle(self, slot: int) -> LatestValues:
        """Merge the tail into `latest` and return it: the complete latest values of the box."""
        latest, tail = self.latest[slot], self.tails[slot]
        if tail is not None:
            advance_latest(latest, ((tail[0], tail[2]),))
            self.tails[slot] = None
            self.kinds[slot] = NO_KIND
        return latest

    def advance_slowly(
        self, slot: int, fresh: Sequence[tuple[int, ColumnValues]], sent: int, now_us: int
    ) -> int:
        """Record a box whose samples were late, duplicate or out of order; returns how many were late.

        Args:
            slot: the box, settled.
            fresh: the samples that were stored.
            sent: how many arrived, duplicates included.
            now_us: the time of arrival (µs).
        """
        late = advance_latest(self.latest[slot], fresh)
        newest = max((time_us for time_us, _ in fresh), default=NEVER)
        if newest > self.newest[slot]:
            self.newest[slot] = newest
            self._skew[slot] = min(int(self._skew[slot]), now_us - newest)
        # An older value may have changed, which a reader would not find beyond `newest`.
        self._dirty[slot] |= bool(fresh)
        self._heard[slot] = now_us
        self._samples[slot] += sent
        self._late[slot] += late
        return late

    def rules_changed(self, slot: int) -> None:
        """Record that the box's rule states were changed in place: this transaction writes them."""
        self.busy[slot] = bool(self.rules[slot])
        self._dirty[slot] = True

    def get_grace_end_us(self, slot: int) -> int:
        """Return the end of the box's grace period (µs), 0 if it delivers no backlog."""
        return int(compute_grace_end_us(self.newest[slot], self._heard[slot]))

    def set_due(self, slot: int, due_us: int | None) -> None:
        """Set when the box's next timer expires. Its row may have an earlier time, never a later one."""
        self.due[slot] = NOT_DUE if due_us is None else due_us
        if self.due[slot] < self._row_due[slot]:
            self._dirty[slot] = True

    def set_dues(self, slots: Slots, due_us: NDArray[np.int64]) -> None:
        """Set when the next timers of many boxes expire; each of them has one."""
        self.due[slots] = due_us
        self._dirty[slots] |= due_us < self._row_due[slots]

    def touch(self, slot: int) -> None:
        """Mark the box's row to be written in this transaction."""
        self._dirty[slot] = True

    def find_due_boxes(self, at_us: int) -> list[int]:
        """Return the keys of the boxes in memory that are due by this time."""
        return [self._keys[slot] for slot in np.flatnonzero(self.due[: len(self._keys)] <= at_us).tolist()]

    async def save(self, connection: RawConnection, clock_us: int, *, locked: Iterable[int] = ()) -> None:
        """Write back the rows that changed, that have lagged for long enough, or that are locked.

        Args:
            connection: in the transaction that stored the samples.
            clock_us: a monotonic clock (µs).
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
        """Write back all boxes whose rows lag, in a transaction that stores no samples."""
        slots = np.flatnonzero(self._samples[: len(self._keys)])
        await self._write(connection, slots.tolist(), np.zeros(len(self._keys), np.bool_))

    async def _write(
        self, connection: RawConnection, slots: Sequence[int], exact: NDArray[np.bool_] | None
    ) -> None:
        """Write rows back; without `exact`, only the counts."""
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
        """Reset the counts since the last write: these rows are up to date."""
        self._samples[slots] = 0
        self._late[slots] = 0
        self._skew[slots] = _NO_SKEW
        self._dirty[slots] = False
