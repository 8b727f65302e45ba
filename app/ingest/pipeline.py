"""The way of a batch, from messages to a commit: **read this file first**.

    sorted messages (app.ingest.intake, pure)
      └▶ one transaction:
           refresh    the registry of boxes, sites and rules, if its version has moved
           resolve    whose samples are these? unknown boxes and too old samples are refused
           statuses   online, offline, firmware, battery, signal
           configs    what boxes say that they are configured to
           lock       the state rows of the boxes concerned, in the order of their keys
           store      samples into the hypertable; repeats and conflicts are told apart
           evaluate   the rules of each box's site over what is new (pure)
           remember   latest values and rule states
           alerts     what fired and resolved, with its outbox entries
           events     what boxes recognised themselves
           quarantine what was refused, with its reason
           totals     how much was stored, repeated, contradicted, refused, late
      └▶ commit
      └▶ the caller: acknowledges the broker, tells the boxes, wakes the dispatcher

Both doors, MQTT and HTTP, call `Pipeline.commit`. It returns what happened; nothing is acknowledged here. A
batch that the database refuses is halved until the sample at fault is found: that one goes to quarantine,
and all others are stored. A batch that no values could have saved (the schema is another one) is not touched.

Rows of `boxes` and `box_configs` come before those of `box_states`: changes of a box take that order too.
"""

import time
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Final

from app.alerts.recorder import record
from app.core.database import RawConnection, is_transient, is_unfit
from app.core.ids import new_id
from app.core.observability import INGEST_RETRIES, INGEST_STEP, get_logger
from app.core.reasons import Rejection
from app.ingest.intake import Intake
from app.ingest.receipt import Receipt
from app.ingest.registry import Registry
from app.ingest.work import BoxesChangedError, Work
from app.observations.events import EventRow, store_events
from app.observations.quarantine import Refused, quarantine
from app.observations.states import advance, lock_states, save_states
from app.observations.totals import Totals, add_totals
from app.observations.writer import SampleRow, prepare, write_samples
from app.rules.evaluator import evaluate_box
from app.sites.configs import store_reported
from app.sites.status import StatusRow, store_statuses

_log = get_logger(__name__)

_UNKNOWN_BOX: Final = "No box of this id is registered. Register it (POST /v1/boxes), then send again."


async def _resolve(work: Work) -> None:
    """Find the box of each sample, event and status; refuse what has none, or is older than is kept."""
    find = work.find
    intake = work.intake
    now_us = work.now_us
    work.registry_version = work.registry.version
    for box_id, row, origin in zip(intake.boxes, intake.rows, intake.origins, strict=True):
        box = find(box_id)
        if box is None:
            work.refuse_sample(origin, box_id, Rejection("unknown_box", _UNKNOWN_BOX, row[1]), row)
            continue
        retention = work.registry.retention_us(box.site_id)
        if retention is not None and row[0] < now_us - retention:
            detail = f"The site keeps {retention // 86_400_000_000} days of samples; this one is older."
            work.refuse_sample(origin, box_id, Rejection("time_too_old", detail, row[1]), row)
            continue
        work.samples.append(SampleRow(box.key, *row))
        work.sample_boxes.append(box)
    for box_id, event, origin in intake.events:
        box = find(box_id)
        if box is None:
            work.refuse(origin, box_id, Rejection("unknown_box", _UNKNOWN_BOX, event.seq))
        else:
            work.events.append((box, event))
    for box_id, status, origin in intake.statuses:
        box = find(box_id)
        if box is None:
            work.refuse(origin, box_id, Rejection("unknown_box", _UNKNOWN_BOX))
        else:
            newest = StatusRow(status.state, status.firmware, status.battery, status.rssi)
            work.statuses[box.key] = newest.over(work.statuses.get(box.key))
    for box_id, config, origin in intake.configs:
        box = find(box_id)
        if box is None:
            work.refuse(origin, box_id, Rejection("unknown_box", _UNKNOWN_BOX))
        else:
            work.configs[box.key] = config


async def _lock(work: Work) -> None:
    if work.samples:
        work.memories = await lock_states(work.connection, {row.box_key for row in work.samples})
        # Whoever takes a rule away locks the same rows: once we hold them, what it committed is to be seen.
        await work.registry.refresh(work.connection)
        if work.registry.version != work.registry_version:
            # Replaced entries are those of boxes that were moved, deleted or made anew.
            for box in work.sample_boxes:
                if work.find(box.id) is not box:
                    raise BoxesChangedError


async def _store(work: Work) -> None:
    outcome = await write_samples(work.connection, work.samples)
    work.outcome = outcome
    old = {*outcome.duplicates, *outcome.conflicts}
    for index, (row, box) in enumerate(zip(work.samples, work.sample_boxes, strict=True)):
        if index not in old:
            work.fresh.setdefault(box.key, []).append((row.time_us, row.values))
            work.sites[box.key] = box.site_id


async def _evaluate(work: Work) -> None:
    """Rules see only what is new: a repeat changes no state."""
    for key, samples in work.fresh.items():
        memory = work.memories.get(key)
        if memory is None:  # The box is being purged: its samples go with it.
            continue
        rules = work.registry.rules_of(work.sites[key])
        transitions, changed = evaluate_box(rules, memory.rules, memory.latest, samples, key, new_id)
        work.transitions.extend(transitions)
        memory.changed |= changed


async def _remember(work: Work) -> None:
    for key, samples in work.fresh.items():
        memory = work.memories.get(key)
        if memory is not None:
            work.late += advance(memory, samples)
    await save_states(work.connection, work.memories)


async def _alerts(work: Work) -> None:
    if work.transitions:
        names = {box.key: box.id for box in work.sample_boxes}
        await record(work.connection, work.transitions, boxes=names, now=work.now)


async def _events(work: Work) -> None:
    rows = [
        EventRow(
            box.key,
            box.organisation_id,
            event.time_us,
            event.type,
            event.seq,
            event.candidates,
            event.level_db,
            event.clock_error_ms,
        )
        for box, event in work.events
    ]
    work.new_events = await store_events(work.connection, rows, now=work.now)


async def _statuses(work: Work) -> None:
    await store_statuses(work.connection, work.statuses, now=work.now)


async def _configs(work: Work) -> None:
    await store_reported(work.connection, work.configs, now=work.now)


async def _quarantine(work: Work) -> None:
    refused = []
    for turned in work.turned:
        box = None if turned.box is None else work.find(turned.box)
        refused.append(
            Refused(
                work.organisation_id if box is None else box.organisation_id,
                turned.box,
                turned.rejection.code,
                turned.rejection.detail,
                work.intake.messages[turned.origin].topic,
                turned.part,
            )
        )
    await quarantine(work.connection, refused, door=work.intake.door, now=work.now)


async def _totals(work: Work) -> None:
    outcome = work.outcome
    totals = Totals(
        outcome.stored, len(outcome.duplicates), len(outcome.conflicts), len(work.turned), work.late
    )
    await add_totals(work.connection, totals, door=work.intake.door, now=work.now)


STEPS: Final[tuple[tuple[str, Callable[[Work], Awaitable[None]]], ...]] = (
    ("resolve", _resolve),
    ("statuses", _statuses),
    ("configs", _configs),
    ("lock", _lock),
    ("store", _store),
    ("evaluate", _evaluate),
    ("remember", _remember),
    ("alerts", _alerts),
    ("events", _events),
    ("quarantine", _quarantine),
    ("totals", _totals),
)

_TIMERS: Final = {name: INGEST_STEP.labels(name) for name, _ in (("refresh", None), *STEPS, ("commit", None))}


class Pipeline:
    """The second part of the way: takes a sorted batch, and commits it."""

    def __init__(self, registry: Registry) -> None:
        self.registry = registry

    async def commit(self, connection: RawConnection, intake: Intake, *, now: datetime) -> Receipt:
        """Store a batch in one transaction, and say what became of it.

        Raises:
            asyncpg.PostgresError, OSError, TimeoutError: only such as `is_transient` or `is_unfit` accepts;
                nothing that was not stored is in quarantine, and the batch can be given again.
        """
        try:
            return await self._attempt(connection, intake, now)
        except Exception as error:
            if is_transient(error) or is_unfit(error):
                raise
            INGEST_RETRIES.labels("bisected").inc()
            _log.warning("batch_refused_by_database", things=len(intake), error=repr(error))
            return await self._bisect(connection, intake, now, error)

    async def _attempt(self, connection: RawConnection, intake: Intake, now: datetime) -> Receipt:
        await prepare(connection)
        while True:
            try:
                return await self._transact(connection, intake, now)
            except BoxesChangedError:
                INGEST_RETRIES.labels("boxes_changed").inc()

    async def _transact(self, connection: RawConnection, intake: Intake, now: datetime) -> Receipt:
        began = time.perf_counter()
        async with connection.transaction():
            await self.registry.refresh(connection)
            work = Work(connection, self.registry, intake, now)
            _TIMERS["refresh"].observe(time.perf_counter() - began)
            for name, step in STEPS:
                began = time.perf_counter()
                await step(work)
                _TIMERS[name].observe(time.perf_counter() - began)
            began = time.perf_counter()
        _TIMERS["commit"].observe(time.perf_counter() - began)
        return work.receipt()

    async def _bisect(
        self, connection: RawConnection, intake: Intake, now: datetime, cause: Exception
    ) -> Receipt:
        """Store what can be stored of a batch that was refused as a whole, and quarantine what cannot."""
        total = len(intake)
        if total <= 1:
            refused = intake.refused(f"The database refused it: {cause}"[:400]) if total else intake
            return await self._attempt(connection, refused, now)
        middle = total // 2
        receipt = await self._half(connection, intake.only(range(middle)), now)
        receipt.add(await self._half(connection, intake.only(range(middle, total)), now))
        return receipt

    async def _half(self, connection: RawConnection, intake: Intake, now: datetime) -> Receipt:
        try:
            return await self._attempt(connection, intake, now)
        except Exception as error:
            if is_transient(error) or is_unfit(error):
                raise
            return await self._bisect(connection, intake, now, error)
