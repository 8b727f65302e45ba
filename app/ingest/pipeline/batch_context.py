"""Carries the state of one batch from step to step of the ingest pipeline."""

from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from app.ingest.codec.decoded_batch import BatchRejection, DecodedBatch
from app.ingest.codec.event_and_status_decoder import DeviceEvent
from app.ingest.codec.telemetry_codec import Row, encode_sample
from app.ingest.pipeline.batch_receipt import BatchReceipt, BoxAck, identify_message
from app.ingest.pipeline.quota_cache import UNLIMITED, DailyQuotas
from app.ingest.pipeline.registry_snapshot import RegisteredBox, RegistryCache, RegistrySnapshot
from app.ingest.pipeline.rule_context import HistoryCache, RuleContext
from app.message_log.partitions import OwnedPartitions
from app.notifications.events.event_traces import EventTraces
from app.platform.db.database import RawConnection
from app.platform.kernel.instants import from_datetime
from app.platform.kernel.rejection_codes import NEVER_STORED_CODES, InputRejection
from app.platform.observability.metrics_and_logs import get_logger
from app.registry.box_status_writer import StatusRow
from app.registry.cross_tenant_repository import share_boxes
from app.registry.privacy_refusal_counts import RefusalCountKey
from app.rules.engine.threshold_evaluator import AlertTransition, BoxRuleSet
from app.timeseries.storage.box_grouping import BoxGroups
from app.timeseries.storage.box_state_cache import BoxStates, Slots
from app.timeseries.storage.event_writer import StoredEvent
from app.timeseries.storage.ingest_totals import SampleQuotaUsage
from app.timeseries.storage.sample_column_encoding import ColumnValues, SampleBlock
from app.timeseries.storage.sample_writer import WriteOutcome

# Most samples without a `seq` that an acknowledgement lists by index, per message.
_INDEXES = 100
_log = get_logger(__name__)


type Finish = Callable[[RawConnection], Awaitable[None]]
"""A step at the end of the last transaction of a batch."""


class UnsharedBoxesError(Exception):
    """Boxes that only the consumer may write to. Mark them as shared, then retry."""

    def __init__(self, keys: Sequence[int]) -> None:
        super().__init__(f"{len(keys)} boxes are not shared")
        self.keys = keys


class BoxSharer:
    """Shares the boxes of one transaction that other processes may have to write to, before a retry.

    Args:
        registry: the copy in which the next attempt looks for them.
    """

    def __init__(self, registry: RegistryCache) -> None:
        self._registry = registry
        self._shared: set[int] = set()
        self._is_reloaded = False

    async def share(self, connection: RawConnection, error: UnsharedBoxesError, now: datetime) -> None:
        """Share the boxes of an error.

        If this did not help before, the copy of the registry is wrong: the next attempt reads all of it.

        Raises:
            UnsharedBoxesError: `error`, because not even that helped.
        """
        if not self._shared.isdisjoint(error.keys):
            if self._is_reloaded:
                raise error
            self._is_reloaded = True
            _log.warning("registry_reloaded", unshared_boxes=len(error.keys))
            await self._registry.invalidate()
        self._shared.update(error.keys)
        await share_boxes(connection, error.keys, now)


@dataclass(slots=True, eq=False)
class BatchSamples:
    """The samples of a batch in columns, grouped by box in the order of box keys.

    Attributes:
        block: the samples.
        groups: the same samples, grouped by box.
        boxes: each box once.
        slots: the slot of each box in the cached states.
        rules: the rule set of each box.
        new: for each box, whether all its samples are certain to be new.
        old: indexes of duplicates and conflicts.
    """

    block: SampleBlock
    groups: BoxGroups
    boxes: list[RegisteredBox]
    slots: Slots
    rules: Sequence[BoxRuleSet]
    new: NDArray[np.bool_] = field(init=False)
    old: frozenset[int] = frozenset()

    def __post_init__(self) -> None:
        self.new = np.zeros(len(self.boxes), np.bool_)

    def find_new_samples(self, position: int) -> tuple[list[int], list[tuple[int, ColumnValues]]]:
        """Return the stored samples of one box in order: their indexes, and (time in µs, values)."""
        times, values = self.block.times, self.block.values
        indexes = [index for index in self.groups.of(position) if index not in self.old]
        return indexes, [(int(times[index]), values[index]) for index in indexes]


@dataclass(slots=True)
class BatchContext:
    """One batch in progress. The steps fill the attributes from top to bottom.

    Attributes:
        registry: the snapshot of boxes, sites and rules for the whole transaction.
        states: the states of the batch's boxes, cached between batches if `is_consumer`.
        expected_columns: the metrics of the previous batch.
        is_consumer: whether this process alone writes to boxes that are not shared.
        owned: the partitions to whose boxes that is limited; None: all boxes.
        compare_all: compare each sample with the stored ones, even if it looks new.
        effort: estimated number of condition parts to evaluate.
        history_cache: histories of boxes that other processes write to.
        quotas: the daily quotas of samples.
        rejections: refused messages and parts of messages.
        rows, sample_boxes, origins: samples of known boxes and the index of their message; parallel.
        batch_samples: the same samples in columns.
        over_quota: samples refused for a quota, counted for the sender's organisation and the quota's holder.
        shared: keys of the boxes whose rows are locked.
        events: events of known boxes, with the index of their message.
        usage: the quota usage of each organisation.
        rule_context: the boxes whose rules must see every sample.
        new_events: the events that were not stored before.
        policy_time_us: the time at which declared purposes must hold (µs since the epoch).
        withheld: values removed from samples whose other values are stored.
        withheld_origins: the indexes of the messages with such samples.
        event_traces: the spans of the written events, which end after the commit.
        other_refusal_counts: further purposes for which an already refused sample is refused.
    """

    connection: RawConnection
    registry: RegistrySnapshot
    intake: DecodedBatch
    now: datetime
    states: BoxStates = field(default_factory=BoxStates)
    expected_columns: tuple[int, ...] = ()
    is_consumer: bool = False
    owned: OwnedPartitions | None = None
    compare_all: bool = False
    effort: int = 0
    history_cache: HistoryCache | None = None
    quotas: DailyQuotas = UNLIMITED
    now_us: int = 0
    rejections: list[BatchRejection] = field(default_factory=list)
    rows: Sequence[Row] = ()
    sample_boxes: Sequence[RegisteredBox] = ()
    origins: Sequence[int] = ()
    over_quota: Counter[UUID] = field(default_factory=Counter)
    batch_samples: BatchSamples | None = None
    shared: frozenset[int] = frozenset()
    rule_context: RuleContext = field(default_factory=RuleContext)
    events: list[tuple[RegisteredBox, DeviceEvent, int]] = field(default_factory=list)
    statuses: dict[int, StatusRow] = field(default_factory=dict)
    configs: dict[int, dict[str, Any]] = field(default_factory=dict)
    outcome: WriteOutcome = field(default_factory=WriteOutcome)
    late: int = 0
    usage: Mapping[UUID, SampleQuotaUsage] = field(default_factory=dict)
    transitions: list[AlertTransition] = field(default_factory=list)
    new_events: list[StoredEvent] = field(default_factory=list)
    policy_time_us: int = 0
    withheld: list[BatchRejection] = field(default_factory=list)
    withheld_origins: set[int] = field(default_factory=set)
    other_refusal_counts: Counter[RefusalCountKey] = field(default_factory=Counter)
    event_traces: EventTraces | None = None
    _batches: set[int] | None = None

    def __post_init__(self) -> None:
        self.now_us = self.policy_time_us = from_datetime(self.now)
        self.rejections = list(self.intake.rejections)

    def owns_site(self, site_id: UUID) -> bool:
        """Whether this process alone writes to the boxes of a site that are not shared."""
        return self.is_consumer and (self.owned is None or self.owned.owns_site(site_id))

    def find(self, box_id: str, origin: int) -> RegisteredBox | None:
        """Return the registered box with this id if the sender of a message may write to it."""
        box = self.registry.boxes.get(box_id)
        tenant_scope = self.intake.find_call(origin).tenant_scope
        if box is None or tenant_scope is None or tenant_scope.includes(box.organisation_id, box.site_id):
            return box
        return None

    def refuse(self, origin: int, box: str, rejection: InputRejection) -> None:
        """Refuse a decoded message and retain its payload if its rejection code permits that."""
        # Erased data must not reappear in the quarantine.
        forget = rejection.code == "erased_range" or rejection.code in NEVER_STORED_CODES
        payload = b"" if forget else self.intake.messages[origin].payload
        self.rejections.append(BatchRejection(origin, box, rejection, payload))

    def refuse_sample(
        self, origin: int, box: str, rejection: InputRejection, row: Row, *, is_cut: bool = False
    ) -> None:
        """Refuse one sample. From a batch only that sample is retained, not a copy of the whole message.

        Args:
            origin: index of its message.
            box: id of its box.
            rejection: why it is refused.
            row: the sample.
            is_cut: whether values were removed from it, which must not appear in the quarantine either.
        """
        if self._batches is None:
            self._batches = {found for found, count in Counter(self.intake.origins).items() if count > 1}
        forget = rejection.code == "erased_range" or rejection.code in NEVER_STORED_CODES
        apart = (
            is_cut or origin in self.withheld_origins or origin in self._batches or self._is_foreign(origin)
        )
        if apart and not forget:
            self.rejections.append(BatchRejection(origin, box, rejection, encode_sample(row)))
        else:
            self.refuse(origin, box, rejection)

    def _is_foreign(self, origin: int) -> bool:
        """Whether the message is in another format than Vigie's. Then only its sample is retained."""
        topic = self.intake.messages[origin].topic
        return topic is not None and not topic.endswith("/telemetry")

    def withhold(self, refusals: Sequence[BatchRejection]) -> None:
        """Record values that were removed from a sample whose other values are stored."""
        self.withheld.extend(refusals)
        self.withheld_origins.update(refusal.origin for refusal in refusals)

    def receipt(self) -> BatchReceipt:
        """Summarise the batch after the commit."""
        new = {event.place for event in self.new_events}
        return BatchReceipt(
            door=self.intake.door,
            stored=self.outcome.stored,
            duplicate=len(self.outcome.duplicates),
            conflict=len(self.outcome.conflicts),
            late=self.late,
            new_events=[event.type for index, (_, event, _) in enumerate(self.events) if index in new],
            repeated_events=len(self.events) - len(new),
            rejections=self.rejections,
            withheld=self.withheld,
            transitions=[
                (found.kind, found.severity or "none")
                for found in self.transitions
                if found.rule is None or not found.rule.dry_run
            ],
            acks=self._acks(),
            of_calls=self._summarise_calls(new),
        )

    def _summarise_calls(self, new_events: Collection[int]) -> dict[int, BatchReceipt]:
        """Summarise the outcome of each HTTP call: what its response contains."""
        intake = self.intake
        if not intake.calls:
            return {}
        found = {number: BatchReceipt(intake.door) for number in range(len(intake.calls))}
        receipts = [found[number] for number in intake.call_numbers]
        for origin in self.origins:
            receipts[origin].stored += 1
        for index in self.outcome.duplicates:
            receipt = receipts[self.origins[index]]
            receipt.stored -= 1
            receipt.duplicate += 1
        for index in self.outcome.conflicts:
            receipt = receipts[self.origins[index]]
            receipt.stored -= 1
            receipt.conflict += 1
        for index, (_, event, origin) in enumerate(self.events):
            if index in new_events:
                receipts[origin].new_events.append(event.type)
            else:
                receipts[origin].repeated_events += 1
        for refusal in self.rejections:
            receipts[refusal.origin].rejections.append(refusal)
        for refusal in self.withheld:
            receipts[refusal.origin].withheld.append(refusal)
        return found

    def _acks(self) -> dict[str, BoxAck]:
        """Build the acknowledgement of each box that asks for one. Duplicates count as committed."""
        acks: dict[str, BoxAck] = {}
        newest: dict[str, int] = {}
        conflicts = set(self.outcome.conflicts)
        if self.batch_samples is not None and any(box.ack for box in self.batch_samples.boxes):
            for index, (row, box) in enumerate(zip(self.rows, self.sample_boxes, strict=True)):
                if box.ack and row[1] is not None:
                    ack = acks.setdefault(box.id, BoxAck())
                    newest[box.id] = self.origins[index]
                    if index in conflicts:
                        ack.rejected.append({"seq": row[1], "code": "conflict"})
                    else:
                        ack.seqs.append(row[1])
        self._add_others(acks, newest)
        if self.intake.edges:
            for box_id, origin in newest.items():
                acks[box_id].edge = self.intake.find_edge(origin)
        return acks

    def _add_others(self, acks: dict[str, BoxAck], newest: dict[str, int]) -> None:
        """Add committed events, and messages refused as a whole or in part.

        Args:
            acks: the acknowledgements, by box id.
            newest: the index of the newest message of each of these boxes.
        """
        for box, event, origin in self.events:
            if box.ack and event.seq is not None:
                acks.setdefault(box.id, BoxAck()).event_seqs.append(event.seq)
                newest[box.id] = max(newest.get(box.id, 0), origin)
        for refusal in self.withheld:
            rejection = refusal.rejection
            if refusal.box in acks and rejection.seq is not None:
                left_out = {"seq": rejection.seq, "code": rejection.code, "purpose": rejection.purpose}
                acks[refusal.box].partly.append(left_out)
        refused: dict[tuple[int, str], dict[str, Any]] = {}
        for refusal in self.rejections:
            known = None if refusal.box is None else self.find(refusal.box, refusal.origin)
            topic, payload = self.intake.messages[refusal.origin]
            if known is None or not known.ack or topic is None:
                continue
            ack, rejection = acks.setdefault(known.id, BoxAck()), refusal.rejection
            newest[known.id] = max(newest.get(known.id, 0), refusal.origin)
            if rejection.seq is not None:
                kind = {"kind": "event"} if topic.endswith("/event") else {}
                ack.rejected.append({"seq": rejection.seq, "code": rejection.code, **kind})
                continue
            entry = refused.get((refusal.origin, rejection.code))
            if entry is None:
                message = identify_message(payload, self.intake.correlations.get(refusal.origin))
                entry = refused[refusal.origin, rejection.code] = {"code": rejection.code, **message}
                ack.refused.append(entry)
            if rejection.index is not None and len(entry.setdefault("indexes", [])) < _INDEXES:
                entry["indexes"].append(rejection.index)
