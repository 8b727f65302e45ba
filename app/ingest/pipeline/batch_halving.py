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


async def commit_in_halves(
    attempt: BatchAttempt, intake: DecodedBatch, cause: Exception, *, is_last: bool = True
) -> BatchReceipt:
    """Store a batch that was refused as a whole in halves, and quarantine what is at fault.

    Args:
        attempt: stores a part.
        intake: the batch.
        cause: the error of the whole.
        is_last: whether nothing comes after it.
    """
    total = len(intake)
    if total <= 1:
        refused = (
            intake.as_storage_refusal(f"The database refuses it: {redact_error(cause)}") if total else intake
        )
        return (await attempt(refused, is_last=is_last))[0]
    # Between calls as long as there are several: a call is then split as if it had come alone.
    middle = min(intake.list_call_ends(), key=lambda end: abs(end - total // 2), default=total // 2)
    receipt = await _commit_half(attempt, intake.select(range(middle)), is_last=False)
    receipt.add(await _commit_half(attempt, intake.select(range(middle, total)), is_last=is_last))
    return receipt


async def _commit_half(attempt: BatchAttempt, intake: DecodedBatch, *, is_last: bool) -> BatchReceipt:
    progress = CommitProgress(intake)
    again = len(intake) == 1
    while progress.rest is not None:
        try:
            progress.add(*await attempt(progress.rest, is_last=is_last))
        except Exception as error:
            if not may_be_of_the_data(error):
                raise
            # An error of another kind may be temporary and not caused by the sample: retry once.
            if again and not isinstance(error, asyncpg.PostgresError):
                again = False
                continue
            progress.add(await commit_in_halves(attempt, progress.rest, error, is_last=is_last), None)
    return progress.result(intake)
