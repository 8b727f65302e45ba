"""How much is judged in one transaction: as many rules as are looked at, not only as many samples.

A batch of a site with hundreds of windows takes a thousand times as long as one without, and so does the
first one after a start, when the past of all windows is read. Meanwhile nobody can change a rule, and after
half a minute the database would end the transaction, for ever the same one.

How far a batch is committed that is taken in several transactions.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from app.ingest.codec.message_intake import DecodedBatch
from app.ingest.pipeline.batch_receipt import BatchReceipt
from app.ingest.pipeline.registry_snapshot import RegisteredBox, RegistrySnapshot
from app.rules.engine.box_rule_set import BoxRuleSet
from app.timeseries.storage.box_states import BoxStates

# Parts of conditions that are looked at, some 5 µs each.
_ENOUGH: Final = 200_000
# Values of the past that are read in the time of one part.
_READ_FOR_ONE: Final = 3
# Beside others in one process, such as the calls of an API.
LONG_EVALUATION: Final = 2_000

_SAMPLES, _EVENTS = 0, 1


def choose_transaction_size(
    intake: DecodedBatch, snapshot: RegistrySnapshot, states: BoxStates
) -> tuple[int, int]:
    """How many things of a batch, in the order of arrival, are enough for one transaction, but at least one.

    Returns:
        Their number, and about how many parts of conditions are looked at for them.
    """
    if not snapshot.has_stateful_rules:
        return len(intake), 0
    ids = set(intake.boxes).union(box_id for box_id, _, _ in intake.events)
    boxes = [box for box_id in ids if (box := snapshot.boxes.get(box_id)) is not None]
    rules = snapshot.find_rules_of_each(boxes)
    heaviest = max((its.effort for its in rules), default=0) * (len(intake.boxes) + len(intake.events))
    first = {
        box.id: before
        for box, its in zip(boxes, rules, strict=True)
        if its.reach_us and (before := estimate_history_cost(box, its, states))
    }
    if heaviest + sum(first.values()) <= _ENOUGH:
        return len(intake), heaviest
    by_box = {box.id: its.effort for box, its in zip(boxes, rules, strict=True)}
    spent = 0
    for count, (_, kind, position) in enumerate(intake.arrivals()):
        box_id = intake.boxes[position] if kind == _SAMPLES else ""
        if kind == _EVENTS:
            box_id = intake.events[position][0]
        more = by_box.get(box_id, 0) + first.pop(box_id, 0)
        if spent + more > _ENOUGH and count:
            return count, spent
        spent += more
    return len(intake), spent


def estimate_history_cost(box: RegisteredBox, rules: BoxRuleSet, states: BoxStates) -> int:
    """What it takes to read the past of a box, if that is not in memory, counted in parts of conditions."""
    slot = states.slots.get(box.key)
    if slot is not None and slot in states.extras:
        return 0
    return rules.reach_us // (box.interval_s * 1_000_000 * _READ_FOR_ONE)


def count_boxes_per_transaction(boxes: Iterable[tuple[RegisteredBox, BoxRuleSet]], states: BoxStates) -> int:
    """How many of these boxes, but at least one, can be looked at in one transaction."""
    spent = count = 0
    for box, rules in boxes:
        spent += estimate_history_cost(box, rules, states) + rules.effort
        if spent > _ENOUGH and count:
            break
        count += 1
    return count


@dataclass(slots=True)
class CommitProgress:
    """How far a batch is committed.

    Attributes:
        rest: what is left of it.
        receipt: what became of the parts that are committed; None before the first.
    """

    rest: DecodedBatch | None = None
    receipt: BatchReceipt | None = None

    def add(self, receipt: BatchReceipt, rest: DecodedBatch | None) -> None:
        """Take note of a part, and of what is left."""
        if self.receipt is None:
            self.receipt = receipt
        else:
            self.receipt.add(receipt)
        self.rest = rest

    def result(self, intake: DecodedBatch) -> BatchReceipt:
        """What became of all parts."""
        return BatchReceipt(intake.door) if self.receipt is None else self.receipt
