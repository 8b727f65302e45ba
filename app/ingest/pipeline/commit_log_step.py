"""Lists what a batch stored in the log of committed measurements, from which the measurement stream is read.

Duplicates and conflicts are not listed: nothing was stored for them.
"""

from collections.abc import Iterator

import numpy as np

from app.ingest.pipeline.batch_context import BatchContext
from app.timeseries.commit_log.commit_writer import (
    CommitEntry,
    append_commits,
    build_event_entries,
    split_by_organisation,
)


async def log_commits(context: BatchContext) -> None:
    """Append the stored samples and events, a row for each organisation."""
    await append_commits(
        context.connection, [*_build_sample_entries(context), *_build_stored_event_entries(context)]
    )


def _build_sample_entries(context: BatchContext) -> Iterator[CommitEntry]:
    batch_samples = context.batch_samples
    if batch_samples is None or not context.outcome.stored:
        return
    block, groups = batch_samples.block, batch_samples.groups
    organisations = [box.organisation_id for box in batch_samples.boxes]
    stored = None
    if batch_samples.old:
        stored = np.ones(len(block), np.bool_)
        stored[list(batch_samples.old)] = False
    for owner, chosen in split_by_organisation(organisations, groups.counts, groups.order):
        keys, times = block.keys[chosen], block.times[chosen]
        if stored is not None:
            keys, times = keys[stored[chosen]], times[stored[chosen]]
        yield CommitEntry(owner, "samples", keys, times)


def _build_stored_event_entries(context: BatchContext) -> Iterator[CommitEntry]:
    if context.new_events:
        boxes = [box for box, _, _ in context.events]
        yield from build_event_entries(
            [box.organisation_id for box in boxes],
            [box.key for box in boxes],
            [event.time_us for _, event, _ in context.events],
            context.new_events,
        )
