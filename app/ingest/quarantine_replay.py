"""Replays quarantined messages after their cause was fixed, such as an unregistered box or a missing metric.

An entry is decoded and committed like a new message. Its samples and its mark are one transaction under the
lock of the entry, so a replay is idempotent. Refused parts stay in the entry with their new rejection code;
nothing is quarantined twice. Content that must never be stored is removed from the entry. Boxes get no
acknowledgement, since they no longer wait for it.

`app.quarantine.replay_repository` decides who may replay an entry.
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
from app.ingest.codec.batch_decoder import add_adapted_message, decode_batch
from app.ingest.codec.decoded_batch import DecodedBatch, ReceivedMessage
from app.ingest.codec.telemetry_codec import decode_http_telemetry
from app.ingest.pipeline.batch_pipeline import IngestPipeline
from app.ingest.pipeline.batch_receipt import BatchReceipt
from app.ingest.prometheus_metrics import QUARANTINE_REPLAYS
from app.platform.db.database import RawConnection
from app.platform.db.ingest_barrier import pass_ingest_barrier
from app.platform.kernel.errors import ConflictError, NotFoundError, VigieError
from app.platform.kernel.instants import format_us, from_datetime
from app.platform.kernel.rejection_codes import NEVER_STORED_CODES, InputRejection, RejectedError
from app.platform.kernel.strict_json import parse_strict_json
from app.platform.kernel.tenant_scope import TenantScope
from app.platform.observability.metrics_and_logs import get_logger, list_error_frames, redact_error
from app.quarantine.entry_writer import suppress_quarantine_writes
from app.quarantine.replay_repository import (
    LockedQuarantineEntry,
    find_boxes_with_newer_status,
    lock_entry,
    record_replay_outcome,
)
from app.registry.cross_tenant_repository import find_reconfigured_boxes, list_unshared_boxes, share_boxes

_log = get_logger(__name__)
# A box that is shared for less than the margin might no longer be shared when its samples are written.
_MARGIN: Final = timedelta(hours=2)


@dataclass(frozen=True, slots=True)
class ReplayResult:
    """The outcome of a replay. The five counts add up to the content of the entry.

    Attributes:
        stored: samples, events, statuses and configurations that were stored.
        duplicate: samples and events that were already stored.
        conflict: samples whose box and time are stored with other values, which remain.
        superseded: statuses and configurations that were skipped, because newer ones are stored.
        refusals: rejections of what is still refused.
        withheld: rejections of values removed from stored samples.
        has_transitions: whether alerts changed, so that the dispatcher must be woken.
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
        """Whether the entry has content that may not stay in quarantine."""
        return bool(self.withheld) or any(each.code in NEVER_STORED_CODES for each in self.refusals)

    def counts(self) -> dict[str, int]:
        """Return the counts by name."""
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
    context: DecodeContext,
    now: datetime,
) -> ReplayResult:
    """Replay one entry.

    Args:
        connection: a connection outside of any transaction.
        pipeline: a pipeline that is not the consumer's.
        identifier: the id of the entry.
        visible: the tenant scope of the caller.
        context: the decode context of a message that arrives now.
        now: the time of the replay, for the checks of samples that are in the future or too old.

    Raises:
        NotFoundError: the caller may not replay such an entry.
        ConflictError: `already_replayed`, `payload_cut`, `not_replayable`.
        asyncpg.PostgresError, OSError, TimeoutError: nothing was changed; the replay can be retried.
    """
    intake = _decode_entry(
        _check_replayable(await lock_entry(connection, identifier, visible), identifier),
        visible,
        context,
    )
    # Before the transaction, since sharing blocks the ingest barrier for all batches.
    await _share_boxes_of_entry(connection, intake, now)
    try:
        async with connection.transaction():
            await pass_ingest_barrier(connection)
            entry = _check_replayable(await lock_entry(connection, identifier, visible), identifier)
            superseded = await _remove_superseded(connection, intake, entry.received_at)
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
                clear_payload=done.has_never_stored_content,
                now=now,
            )
    except VigieError:
        raise  # another replay was faster: the pipeline was not called
    except BaseException:
        # The registry may have read rows of a transaction that was rolled back: read it again.
        pipeline.registry.version = 0
        raise
    # Input that is refused again is not a new refusal.
    replace(receipt, rejections=[]).count()
    QUARANTINE_REPLAYS.labels("refused" if done.refusals else "replayed").inc()
    return done


def _check_replayable(entry: LockedQuarantineEntry | None, identifier: UUID) -> LockedQuarantineEntry:
    if entry is None:
        raise NotFoundError("quarantine entry", identifier)
    if entry.replayed_at is not None:
        raise ConflictError(
            "An earlier replay has stored this entry.",
            code="already_replayed",
            extra={"replayed_at": format_us(from_datetime(entry.replayed_at)), "outcome": entry.outcome},
        )
    if entry.is_truncated:
        raise ConflictError(
            f"Only {len(entry.payload)} of {entry.payload_bytes} bytes are stored. Let the box resend it.",
            code="payload_cut",
        )
    if entry.is_undecodable:
        raise ConflictError(
            "The payload of the entry is not stored, so it cannot be replayed.", code="not_replayable"
        )
    return entry


def _decode_entry(entry: LockedQuarantineEntry, caller: TenantScope, context: DecodeContext) -> DecodedBatch:
    """Decode an entry as when it was received, with times up to the present as not in the future."""
    # Some formats have no time, or one relative to their arrival.
    received_us = from_datetime(entry.received_at)
    future_us = context.max_future_us + context.now_us - received_us
    if entry.topic is None:
        arrival = DecodeContext(entry.box, received_us, future_us, context.max_bytes)
        intake = DecodedBatch("http", [ReceivedMessage(None, entry.payload)])
        add_adapted_message(intake, 0, _adapt_body(entry.payload, arrival))
    else:
        intake = decode_batch([entry.topic], [entry.payload], now_us=received_us, max_future_us=future_us)
    intake.door = entry.door
    intake.organisation_id = entry.organisation_id
    intake.tenant_scope = _find_tenant_scope(entry, caller)
    return intake


def _find_tenant_scope(entry: LockedQuarantineEntry, caller: TenantScope) -> TenantScope | None:
    """Return the boxes that the replay may write to; None for any.

    It is the organisation of the entry, not the caller: an administrator who replays what a client sent to a
    foreign box must not store it there. A box id that was reassigned must not lead to the box of its new
    owner.
    """
    if entry.organisation_id is None:
        return caller
    by_administrator = entry.door == "http" and entry.is_of_platform
    return None if by_administrator else TenantScope.of([entry.organisation_id])


def _adapt_body(payload: bytes, arrival: DecodeContext) -> AdaptedMessage:
    """Decode an HTTP body. No topic names its format, so Vigie's own is tried first, then the others."""
    candidates = list(_try_formats(payload, arrival))
    return next((reading for reading in candidates if reading.samples), candidates[0])


def _try_formats(payload: bytes, arrival: DecodeContext) -> Iterator[AdaptedMessage]:
    others = (each.decode for each in ADAPTERS if each.media_type is not None or each.pushes)
    for decode in (_own_format, *others):
        try:
            yield decode(payload, arrival)
        except RejectedError as error:
            yield AdaptedMessage(refusals=[AdapterRejection(arrival.box, error.rejection())])
        except Exception as error:  # noqa: BLE001 (an error of one adapter must not block later replays)
            _log.error("entry_not_read", error=redact_error(error), at=list_error_frames(error))
            detail = f"Vigie failed to decode the message ({type(error).__name__}). The log has details."
            yield AdaptedMessage(
                refusals=[AdapterRejection(arrival.box, InputRejection("undecodable", detail))]
            )


def _own_format(payload: bytes, arrival: DecodeContext) -> AdaptedMessage:
    """Decode a body of `POST /v1/telemetry`, or a refused sample of a known box."""
    document = parse_strict_json(payload)
    is_part = isinstance(document, dict) and not {"box", "samples"} <= document.keys()
    if arrival.box is not None and is_part:
        return adapt_json(payload, arrival.box, arrival)
    box, decoded = decode_http_telemetry(payload, arrival.now_us, arrival.max_future_us)
    return adapt_decoded(payload, box, decoded)


async def _share_boxes_of_entry(connection: RawConnection, intake: DecodedBatch, now: datetime) -> None:
    """Mark these boxes as shared, so that the consumer does not rely on its cached states."""
    organisations = None if intake.tenant_scope is None else intake.tenant_scope.organisations
    keys = await list_unshared_boxes(connection, list(set(intake.boxes)), organisations, now + _MARGIN)
    if keys:
        await share_boxes(connection, keys, now)


async def _remove_superseded(connection: RawConnection, intake: DecodedBatch, since: datetime) -> int:
    """Remove statuses and configurations for which newer ones are stored; returns their number."""
    before = len(intake.statuses) + len(intake.configs)
    if not before:
        return 0
    updated = await find_boxes_with_newer_status(connection, [box for box, _, _ in intake.statuses], since)
    intake.statuses = [status for status in intake.statuses if status[0] not in updated]
    changed = await find_reconfigured_boxes(connection, [box for box, _, _ in intake.configs], since)
    intake.configs = [config for config in intake.configs if config[0] not in changed]
    return before - len(intake.statuses) - len(intake.configs)


async def _commit(
    connection: RawConnection, pipeline: IngestPipeline, intake: DecodedBatch, now: datetime
) -> BatchReceipt:
    """Commit an entry in the caller's transaction."""
    try:
        return await _commit_whole(connection, pipeline, intake, now)
    except _PartRefusedError:
        # The pipeline would need a transaction for each half, since a commit empties its temporary table.
        # The outer transaction does not commit in between.
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
    # An entry is one message, so a status or a configuration is its only content.
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
