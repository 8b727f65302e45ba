"""Writes the events, statuses, configurations, alerts and totals of a batch in its transaction."""

from app.alerts.transition_recorder import record_transitions
from app.ingest.pipeline.batch_context import BatchContext
from app.ingest.pipeline.quota_step import count_quota_usage
from app.registry.box_configurations import store_reported_configs
from app.registry.box_status import store_statuses
from app.timeseries.storage.event_writer import EventRow, store_events
from app.timeseries.storage.ingest_totals import BatchTotals, add_totals


async def record_alerts(context: BatchContext) -> None:
    """Write the alerts that changed, with their outbox entries."""
    if context.transitions:
        await record_transitions(
            context.connection, context.transitions, boxes=_find_box_ids(context), now=context.now
        )


def _find_box_ids(context: BatchContext) -> dict[int, str]:
    """Return the ids of the boxes that the transitions name, by key."""
    keys = {step.box_key for step in context.transitions}
    keys |= {key for step in context.transitions if step.cause is not None for key in step.cause.boxes}
    found = ((key, context.registry.box(key)) for key in keys if key is not None)
    return {key: box.id for key, box in found if box is not None}


async def write_events(context: BatchContext) -> None:
    """Write the events of boxes."""
    rows = [
        EventRow(
            box.key,
            box.organisation_id,
            event.time_us,
            event.type,
            event.seq,
            event.candidates,
            event.level_db,
            event.clock_error_ms,
            event.spectrum,
            event.count,
            event.state,
        )
        for box, event, _ in context.events
    ]
    context.new_events = await store_events(context.connection, rows, now=context.now)


async def write_statuses(context: BatchContext) -> None:
    """Write the latest status of each box."""
    await store_statuses(context.connection, context.statuses, now=context.now)


async def write_configs(context: BatchContext) -> None:
    """Write the configurations that boxes report."""
    await store_reported_configs(context.connection, context.configs, now=context.now)


async def write_totals(context: BatchContext) -> None:
    """Add the batch to the ingest totals, and the quota usage of each organisation."""
    outcome = context.outcome
    totals = BatchTotals(
        outcome.stored, len(outcome.duplicates), len(outcome.conflicts), len(context.rejections), context.late
    )
    context.usage = count_quota_usage(context)
    await add_totals(context.connection, totals, context.usage, door=context.intake.door, now=context.now)
