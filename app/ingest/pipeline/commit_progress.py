"""How far a batch is committed that is taken in several transactions."""

from dataclasses import dataclass

from app.ingest.codec.message_intake import DecodedBatch
from app.ingest.pipeline.batch_receipt import BatchReceipt


@dataclass(slots=True)
class CommitProgress:
    """How far a batch is committed.

    Attributes:
        rest: what is left of it.
        receipt: what became of the parts that are committed; None before the first.
    """

    rest: DecodedBatch | None = None
    receipt: BatchReceipt | None = None

    def take(self, receipt: BatchReceipt, rest: DecodedBatch | None) -> None:
        """Take note of a part, and of what is left."""
        if self.receipt is None:
            self.receipt = receipt
        else:
            self.receipt.add(receipt)
        self.rest = rest

    def outcome(self, intake: DecodedBatch) -> BatchReceipt:
        """What became of all parts."""
        return BatchReceipt(intake.door) if self.receipt is None else self.receipt
