"""Replays what was refused, once the cause is mended: a box registered late, a metric added, and so on.

An entry takes the way of a message again: the codec of its topic, then the pipeline. Its samples and its mark
are one transaction, under the entry's lock: what it holds is stored once, however often it is replayed. What
is refused again stays where it is, under its new reason; nothing is quarantined twice. What may be stored
nowhere does not stay: of such an entry its reason is left, without what it held. Boxes are told
nothing, not even those with `ack`: they have long stopped waiting for it.

Must not decide who may replay what: `app.quarantine.replay_repository` does.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from app.audit.audit_recorder import set_audit_actor
from app.ingest.adapters.adapter_registry import ADAPTERS
from app.ingest.adapters.adapter_types import (
    AdaptedMessage,
    AdapterRejection,
    DecodeContext,
    adapt_decoded,
    adapt_json,
)
from app.ingest.codec.decoded_batch import DecodedBatch, ReceivedMessage
from app.ingest.codec.message_intake import add_adapted_message, decode_batch
from app.ingest.codec.telemetry_codec import decode_http_telemetry
from app.ingest.pipeline.batch_pipeline import IngestPipeline
from app.ingest.pipeline.batch_receipt import BatchReceipt
from app.platform.config.settings import VigieSettings
from app.platform.db.database import RawConnection
from app.platform.db.ingest_barrier import pass_ingest_barrier
from app.platform.kernel.errors import ConflictError, NotFoundError, VigieError
from app.platform.kernel.instants import format_us, from_datetime
from app.platform.kernel.rejection_codes import NEVER_STORED_CODES, InputRejection, RejectedError
from app.platform.kernel.strict_json import parse_strict_json
from app.platform.kernel.tenant_scope import TenantScope
from app.platform.observability.metrics_and_logs import (
    QUARANTINE_REPLAYS,
    get_logger,
    list_error_frames,
    redact_error,
)
from app.quarantine.entry_writer import suppress_quarantine_writes
from app.quarantine.replay_repository import (
    LockedQuarantineEntry,
    find_boxes_with_newer_status,
    find_reconfigured_boxes,
    lock_entry,
    record_replay_outcome,
)

_log = get_logger(__name__)
# A box that is shared for less than the margin might not be any more when its samples are written.
_SHARED_FOR: Final = timedelta(days=1)
_MARGIN: Final = timedelta(hours=2)
_UNSHARED: Final = """
SELECT key FROM boxes
WHERE id = ANY ($1::text[]) AND deleted_at IS NULL AND ($2::uuid[] IS NULL OR organisation_id = ANY ($2))
    AND (shared_until IS NULL OR shared_until < $3)
"""


@dataclass(frozen=True, slots=True)
class ReplayResult:
    """What became of an entry. The five counts add up to what it holds.

    Attributes:
        stored: samples, events, statuses and configurations that were taken.
        duplicate: samples and events that were stored already.
        conflict: samples whose box and time are stored with other values: the first are kept.
        superseded: statuses and configurations that were left, since newer ones are known.
        refusals: what is still refused, and why.
        withheld: what was taken out of samples of which the rest was taken.
        has_transitions: whether the dispatcher has something to do now.
    """

    stored: int
    duplicate: int
    conflict: int
    superseded: int
    refusals: tuple[InputRejection, ...]
    withheld: tuple[InputRejection, ...]
    has_transitions: bool

    @property
    def has_never_stored_content(self) -> bool:
        """Whether something of it may be stored nowhere, nor stay where it was."""
        return bool(self.withheld) or any(each.code in NEVER_STORED_CODES for each in self.refusals)

    def counts(self) -> dict[str, int]:
        """The same as numbers."""
        return {
            "stored": self.stored,
            "duplicate": self.duplicate,
            "conflict": self.conflict,
            "rejected": len(self.refusals),
            "superseded": self.superseded,
        }


class _PartRefusedError(Exception):
    """The database refused a part of an entry."""


async def replay_entry(
    connection: RawConnection,
    pipeline: IngestPipeline,
    identifier: UUID,
    visible: TenantScope,
    *,
    settings: VigieSettings,
    now: datetime,
) -> ReplayResult:
    """Replay one entry.

    Args:
        connection: outside of any transaction.
        pipeline: one that is not the consumer's.
        identifier: which entry.
        visible: what the caller may see.
        settings: limits, as they are for new messages.
        now: the time of the replay: it decides what is in the future, and what is too old.

    Raises:
        NotFoundError: there is none that the caller may replay.
        ConflictError: `already_replayed`, `payload_cut`, `not_replayable`.
        asyncpg.PostgresError, OSError, TimeoutError: nothing was changed, and it can be replayed again.
    """
    intake = _decode_entry(
        _check_replayable(await lock_entry(connection, identifier, visible), identifier),
        visible,
        settings,
        now,
    )
    # Before the transaction: it closes the gate to all batches, and not for longer than it must.
    await _share_boxes(connection, intake, now)
    try:
        async with connection.transaction():
            await pass_ingest_barrier(connection)
            entry = _check_replayable(await lock_entry(connection, identifier, visible), identifier)
            superseded = await _leave_superseded(connection, intake, entry.received_at)
            with suppress_quarantine_writes():
                receipt = await _commit(connection, pipeline, intake, now)
            done = _build_result(intake, receipt, superseded)
            refused = None if not done.refusals else (done.refusals[0].code, done.refusals[0].detail)
            await set_audit_actor(connection)
            await record_replay_outcome(
                connection,
                identifier,
                refused=refused,
                outcome=done.counts(),
                forget=done.has_never_stored_content,
                now=now,
            )
    except VigieError:
        raise  # another replay was quicker: the pipeline was not called
    except BaseException:
        # What the registry has read in a transaction that was rolled back may never come to be.
        pipeline.registry.version = 0
        raise
    # What is refused again is no new refusal.
    replace(receipt, rejections=[]).count()
    QUARANTINE_REPLAYS.labels("refused" if done.refusals else "replayed").inc()
    return done


def _check_replayable(entry: LockedQuarantineEntry | None, identifier: UUID) -> LockedQuarantineEntry:
    if entry is None:
        raise NotFoundError("quarantine entry", identifier)
    if entry.replayed_at is not None:
        raise ConflictError(
            "All of it was taken by an earlier replay.",
            code="already_replayed",
            extra={"replayed_at": format_us(from_datetime(entry.replayed_at)), "outcome": entry.outcome},
        )
    if entry.is_cut:
        kept = len(entry.payload)
        raise ConflictError(
            f"Of its {entry.payload_bytes} bytes the first {kept} are kept. Have it sent again by the box.",
            code="payload_cut",
        )
    if entry.says_nothing:
        raise ConflictError("Nothing of it is kept that could be read.", code="not_replayable")
    return entry


def _decode_entry(
    entry: LockedQuarantineEntry, caller: TenantScope, settings: VigieSettings, now: datetime
) -> DecodedBatch:
    """What the entry holds, as its door would have sorted it when it came, but for what is the future."""
    # Some formats have no time but that of their arrival, or one relative to it.
    received_us, now_us = (round(instant.timestamp() * 1_000_000) for instant in (entry.received_at, now))
    future_us = round(settings.ingest.max_future_s * 1_000_000) + now_us - received_us
    if entry.topic is None:
        arrival = DecodeContext(entry.box, received_us, future_us, settings.api.max_body_bytes)
        intake = DecodedBatch("http", [ReceivedMessage(None, entry.payload)])
        add_adapted_message(intake, 0, _adapt_body(entry.payload, arrival))
    else:
        intake = decode_batch([entry.topic], [entry.payload], now_us=received_us, max_future_us=future_us)
    intake.door = entry.door
    intake.organisation_id = entry.organisation_id
    intake.tenant_scope = _find_tenant_scope(entry, caller)
    return intake


def _find_tenant_scope(entry: LockedQuarantineEntry, caller: TenantScope) -> TenantScope | None:
    """Whose boxes alone may be written to; None for any.

    Not the caller's, where the entry is somebody's: an administrator who replays what a client sent to
    another's box must not put it there. Nor may a box's id lead to its next owner's box.
    """
    if entry.organisation_id is None:
        return caller
    by_administrator = entry.door == "http" and entry.platform
    return None if by_administrator else TenantScope.of([entry.organisation_id])


def _adapt_body(payload: bytes, arrival: DecodeContext) -> AdaptedMessage:
    """What a body holds. No topic tells its format: Vigie's own is tried first, then the others."""
    readings = list(_try_formats(payload, arrival))
    return next((reading for reading in readings if reading.samples), readings[0])


def _try_formats(payload: bytes, arrival: DecodeContext) -> Iterator[AdaptedMessage]:
    others = (each.decode for each in ADAPTERS if each.media_type is not None or each.pushes)
    for decode in (_own_format, *others):
        try:
            yield decode(payload, arrival)
        except RejectedError as error:
            yield AdaptedMessage(refusals=[AdapterRejection(arrival.box, error.rejection())])
        except Exception as error:  # noqa: BLE001 (a fault of an adapter must not hold up every replay after it)
            _log.error("entry_not_read", error=redact_error(error), at=list_error_frames(error))
            detail = f"Vigie failed on it: {type(error).__name__}. It is in the log."
            yield AdaptedMessage(
                refusals=[AdapterRejection(arrival.box, InputRejection("undecodable", detail))]
            )


def _own_format(payload: bytes, arrival: DecodeContext) -> AdaptedMessage:
    """A body of `POST /v1/telemetry`, or the part of one that was refused: a sample of a known box."""
    document = parse_strict_json(payload)
    is_part = isinstance(document, dict) and not {"box", "samples"} <= document.keys()
    if arrival.box is not None and is_part:
        return adapt_json(payload, arrival.box, arrival)
    box, decoded = decode_http_telemetry(payload, arrival.now_us, arrival.max_future_us)
    return adapt_decoded(payload, box, decoded)


async def _share_boxes(connection: RawConnection, intake: DecodedBatch, now: datetime) -> None:
    """Tell the consumer that it is not the only one who writes to these boxes."""
    organisations = None if intake.tenant_scope is None else intake.tenant_scope.organisations
    rows = await connection.fetch(_UNSHARED, list(set(intake.boxes)), organisations, now + _MARGIN)
    if rows:
        await connection.execute("SELECT share_boxes($1, $2)", [key for (key,) in rows], now + _SHARED_FOR)


async def _leave_superseded(connection: RawConnection, intake: DecodedBatch, since: datetime) -> int:
    """Take out statuses and configurations than which newer ones are known; how many these are."""
    before = len(intake.statuses) + len(intake.configs)
    if not before:
        return 0
    passed = await find_boxes_with_newer_status(connection, [box for box, _, _ in intake.statuses], since)
    intake.statuses = [status for status in intake.statuses if status[0] not in passed]
    changed = await find_reconfigured_boxes(connection, [box for box, _, _ in intake.configs], since)
    intake.configs = [config for config in intake.configs if config[0] not in changed]
    return before - len(intake.statuses) - len(intake.configs)


async def _commit(
    connection: RawConnection, pipeline: IngestPipeline, intake: DecodedBatch, now: datetime
) -> BatchReceipt:
    """Put an entry through the pipeline within the caller's transaction."""
    try:
        return await _commit_whole(connection, pipeline, intake, now)
    except _PartRefusedError:
        # The pipeline counts on a transaction for each half: its temporary table is emptied at a commit.
        # Here that would come too late.
        receipt = BatchReceipt(intake.door)
        for index in range(len(intake)):
            one = intake.select(range(index, index + 1))
            receipt.add(await pipeline.commit(connection, one, now=now, nested=True))
            await connection.execute("DROP TABLE IF EXISTS incoming")
        return receipt


async def _commit_whole(
    connection: RawConnection, pipeline: IngestPipeline, intake: DecodedBatch, now: datetime
) -> BatchReceipt:
    async with connection.transaction():
        receipt = await pipeline.commit(connection, intake, now=now, nested=True)
        if len(intake) > 1 and any(each.rejection.code == "storage_refused" for each in receipt.rejections):
            raise _PartRefusedError
        return receipt


def _build_result(intake: DecodedBatch, receipt: BatchReceipt, superseded: int) -> ReplayResult:
    # An entry is one message: a status or a configuration is all that there is in it.
    others = 0 if receipt.rejections else len(intake.statuses) + len(intake.configs)
    return ReplayResult(
        stored=receipt.stored + len(receipt.new_events) + others,
        duplicate=receipt.duplicate + receipt.repeated_events,
        conflict=receipt.conflict,
        superseded=superseded,
        refusals=tuple(each.rejection for each in receipt.rejections),
        withheld=tuple(each.rejection for each in receipt.withheld),
        has_transitions=bool(receipt.transitions),
    )
