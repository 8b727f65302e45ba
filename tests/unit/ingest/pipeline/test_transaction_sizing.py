"""What one transaction judges: by the rules of the boxes, in the order of arrival."""

from uuid import UUID

import pytest

from app.ingest.codec.decoded_batch import DecodedBatch, ReceivedMessage
from app.ingest.pipeline.registry_snapshot import RegisteredBox, RegistrySnapshot
from app.ingest.pipeline.rule_assignments import NO_RULES
from app.ingest.pipeline.transaction_sizing import choose_transaction_size
from app.rules.engine.box_rule_set import BoxRuleSet
from app.timeseries.storage.box_state_cache import BoxStates

NOBODY = UUID(int=0)


class Known(RegistrySnapshot):
    """Boxes with rules of a certain effort."""

    def __init__(self, efforts: dict[str, int]) -> None:
        super().__init__()
        self.efforts = efforts
        self.boxes = {
            box: RegisteredBox(key, box, NOBODY, NOBODY, ack=False, shared_until_us=0)
            for key, box in enumerate(efforts)
        }
        self._ids = {known.key: box for box, known in self.boxes.items()}

    @property
    def has_stateful_rules(self) -> bool:
        """As said."""
        return any(self.efforts.values())

    def find_rules(self, key: int) -> BoxRuleSet:
        """Nothing but the effort."""
        return BoxRuleSet({}, {}, (), NO_RULES.low, NO_RULES.high, effort=self.efforts[self._ids[key]])


def intake(*boxes: str) -> DecodedBatch:
    return DecodedBatch(
        "mqtt",
        [ReceivedMessage("", b"")] * len(boxes),
        boxes=list(boxes),
        rows=[(place, None, ()) for place in range(len(boxes))],
        origins=list(range(len(boxes))),
    )


@pytest.fixture(autouse=True)
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.ingest.pipeline.transaction_sizing._ENOUGH", 10)


def test_a_batch_with_few_rules_is_taken_whole() -> None:
    assert choose_transaction_size(intake("a", "b", "c"), Known({"a": 3, "b": 1, "c": 0}), BoxStates()) == (
        3,
        9,
    )


def test_what_is_dear_is_cut_where_it_is_enough() -> None:
    known = Known({"a": 4, "b": 1})
    assert choose_transaction_size(intake("a", "b", "a", "a", "b"), known, BoxStates()) == (3, 9)
    assert choose_transaction_size(intake("b", "b", "b", "b", "b"), known, BoxStates()) == (5, 5)


def test_at_least_one_thing_is_taken() -> None:
    assert choose_transaction_size(intake("a", "a"), Known({"a": 99}), BoxStates()) == (1, 99)


def test_boxes_that_nobody_knows_cost_nothing() -> None:
    assert choose_transaction_size(intake("x", "a", "x", "a"), Known({"a": 9}), BoxStates()) == (3, 9)
