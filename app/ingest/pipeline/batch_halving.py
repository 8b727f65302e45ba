"""Halves a batch that the database refuses, until what is at fault is in quarantine."""

from typing import Protocol

import asyncpg

from app.ingest.codec.decoded_batch import DecodedBatch
from app.ingest.pipeline.batch_receipt import BatchReceipt
from app.ingest.pipeline.transaction_sizing import CommitProgress
from app.message_log.positions import FencedError
from app.platform.db.database import is_schema_mismatch, is_transient
from app.platform.observability.metrics_and_logs import redact_error


class BatchAttempt(Protocol):
    """Stores as much of a part of a batch as one transaction should evaluate; returns the rest as well."""

    async def __call__(
        self, part: DecodedBatch, *, is_last: bool
    ) -> tuple[BatchReceipt, DecodedBatch | None]:
        """Store a part; `is_last`: nothing of the batch comes after it."""


def may_be_of_the_data(error: Exception) -> bool:
    """Whether a part of the batch may be at fault, so that halving it helps."""
    return not (is_transient(error) or is_schema_mismatch(error) or isinstance(error, FencedError))


async def commit_in_halves(attempt: BatchAttempt, progress: CommitProgress, cause: Exception) -> None:
    """Store the rest of a batch, which was refused as a whole, in halves, and quarantine what is at fault.

    Each committed part is added to the progress at once. So if a later part meets a temporary error, only the
    rest is stored again.

    Args:
        attempt: stores a part.
        progress: the progress of the batch.
        cause: the error of the whole.
    """
    if progress.rest is not None:
        await _halve(attempt, progress, progress.rest, cause)


async def _halve(
    attempt: BatchAttempt, progress: CommitProgress, part: DecodedBatch, cause: Exception
) -> None:
    """Store the first part of the rest, which was refused as a whole, in halves."""
    total = len(part)
    if total <= 1:
        refused = (
            part.as_storage_refusal(f"The database refuses it: {redact_error(cause)}") if total else part
        )
        after = _skip(progress.rest, total)
        receipt, _ = await attempt(refused, is_last=after is None)
        progress.add(receipt, after)
        return
    # Between calls as long as there are several: a call is then split as if it had come alone.
    middle = min(part.list_call_ends(), key=lambda end: abs(end - total // 2), default=total // 2)
    await _store(attempt, progress, part.select(range(middle)))
    await _store(attempt, progress, part.select(range(middle, total)))


async def _store(attempt: BatchAttempt, progress: CommitProgress, part: DecodedBatch) -> None:
    """Store the first part of the rest, and quarantine what is at fault in it."""
    left: DecodedBatch | None = part
    again = len(part) == 1
    while left is not None:
        part, is_last = left, _skip(progress.rest, len(left)) is None
        try:
            receipt, left = await attempt(part, is_last=is_last)
        except Exception as error:
            if not may_be_of_the_data(error):
                raise
            # An error of another kind may be temporary and not caused by the sample: retry once.
            if again and not isinstance(error, asyncpg.PostgresError):
                again = False
                continue
            await _halve(attempt, progress, part, error)
            return
        progress.add(receipt, _skip(progress.rest, len(part) - (0 if left is None else len(left))))


def _skip(rest: DecodedBatch | None, count: int) -> DecodedBatch | None:
    """Return the rest after its first things; None if nothing is left."""
    return None if rest is None or count >= len(rest) else rest.select(range(count, len(rest)))
