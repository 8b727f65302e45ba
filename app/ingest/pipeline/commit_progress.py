"""How far a batch is committed that is taken in several transactions."""

from dataclasses import dataclass

from app.ingest.codec.message_intake import Intake
from app.ingest.pipeline.batch_receipt import Receipt


@dataclass(slots=True)
class Progress:
    """How far a batch is committed.

    Attributes:
        rest: what is left of it.
        receipt: what became of the parts that are committed; None before the first.
    """

    rest: Intake | None = None
    receipt: Receipt | None = None

    def take(self, receipt: Receipt, rest: Intake | None) -> None:
        """Take note of a part, and of what is left."""
        if self.receipt is None:
            self.receipt = receipt
        else:
            self.receipt.add(receipt)
        self.rest = rest

    def outcome(self, intake: Intake) -> Receipt:
        """What became of all parts."""
        return Receipt(intake.door) if self.receipt is None else self.receipt
