"""Chooses how much of a batch one transaction processes, by the estimated work of evaluating its rules.

Rules with hundreds of windows make a batch a thousand times slower. The first batch after a start is slow as
well, because it reads the history of all windows. A transaction that is too long blocks changes of rules, and
the database ends it after half a minute, at each retry again.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from app.ingest.codec.decoded_batch import DecodedBatch
from app.ingest.pipeline.batch_receipt import BatchReceipt
from app.ingest.pipeline.registry_snapshot import RegisteredBox, RegistrySnapshot
from app.rules.engine.box_rule_set import BoxRuleSet
from app.timeseries.storage.box_state_cache import BoxStates

# Condition parts per transaction. At about 5 µs each this is one second.
_ENOUGH: Final = 200_000
# Historical values that can be read in the time of one condition part.
_READ_FOR_ONE: Final = 3
# Condition parts above which evaluation moves to a thread, so that an API process serves other requests.
LONG_EVALUATION: Final = 2_000

_SAMPLES, _EVENTS = 0, 1


def choose_transaction_size(
    intake: DecodedBatch, snapshot: RegistrySnapshot, states: BoxStates
) -> tuple[int, int]:
    """Return how many things of a batch, in the order of arrival, fit in one transaction; at least one.

    Returns:
        Their number, and the estimated number of condition parts to evaluate.
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


def estimate_conditions(intake: DecodedBatch, snapshot: RegistrySnapshot) -> int:
    """Estimate the number of condition parts that a batch evaluates, without its history."""
    if not snapshot.has_stateful_rules:
        return 0
    things = Counter(intake.boxes)
    things.update(box_id for box_id, _, _ in intake.events)
    boxes = [box for box_id in things if (box := snapshot.boxes.get(box_id)) is not None]
    rules = snapshot.find_rules_of_each(boxes)
    return sum(its.effort * things[box.id] for box, its in zip(boxes, rules, strict=True))


def estimate_history_cost(box: RegisteredBox, rules: BoxRuleSet, states: BoxStates) -> int:
    """Estimate the cost of reading the history of a box, in condition parts; 0 if it is cached."""
    slot = states.slots.get(box.key)
    if slot is not None and slot in states.extras:
        return 0
    return rules.reach_us // (box.interval_s * 1_000_000 * _READ_FOR_ONE)


def count_boxes_per_transaction(boxes: Iterable[tuple[RegisteredBox, BoxRuleSet]], states: BoxStates) -> int:
    """Return how many of these boxes can be evaluated in one transaction; at least one."""
    spent = count = 0
    for box, rules in boxes:
        spent += estimate_history_cost(box, rules, states) + rules.effort
        if spent > _ENOUGH and count:
            break
        count += 1
    return count


@dataclass(slots=True)
class CommitProgress:
    """The progress of a batch that needs several transactions.

    Attributes:
        rest: the part that is not committed.
        receipt: the outcome of the committed parts; None before the first commit.
    """

    rest: DecodedBatch | None = None
    receipt: BatchReceipt | None = None

    def add(self, receipt: BatchReceipt, rest: DecodedBatch | None) -> None:
        """Add a committed part, and set the rest."""
        if self.receipt is None:
            self.receipt = receipt
        else:
            self.receipt.add(receipt)
        self.rest = rest

    def result(self, intake: DecodedBatch) -> BatchReceipt:
        """Return the outcome of all parts."""
        return BatchReceipt(intake.door) if self.receipt is None else self.receipt
