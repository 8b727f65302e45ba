"""Refuses samples above the daily quota of their organisation (step `enforce_quotas`).

Samples are accepted in the order of arrival while there is room. Duplicates use no quota and are never
refused: the broker may deliver a stored sample again. Events, statuses and configurations have no quota.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, time, timedelta
from operator import attrgetter
from typing import Final
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from app.ingest.pipeline.batch_context import BatchContext
from app.ingest.pipeline.quota_cache import DailyQuotas, SampleQuota
from app.ingest.pipeline.registry_snapshot import RegisteredBox
from app.platform.kernel.instants import format_us, from_datetime
from app.platform.kernel.rejection_codes import InputRejection
from app.quarantine.entry_writer import is_replaying
from app.timeseries.storage.ingest_totals import SampleQuotaUsage
from app.timeseries.storage.sample_writer import find_stored_identities

CODE: Final = "quota_exceeded"
_number_of = attrgetter("organisation_number")


def _organisation_numbers(boxes: Sequence[RegisteredBox]) -> NDArray[np.intp]:
    """Return the number of each box's organisation, an index into `RegistrySnapshot.organisations`."""
    return np.fromiter(map(_number_of, boxes), np.intp, len(boxes))


async def enforce_quotas(context: BatchContext) -> None:
    """Refuse the samples that exceed a quota."""
    if not context.rows or context.quotas.have_room(len(context.rows)):
        return
    numbers = _organisation_numbers(context.sample_boxes)
    positions = np.flatnonzero(np.isin(numbers, _find_exceeded(context, np.bincount(numbers)))).tolist()
    if not positions:
        return
    identities = [(context.sample_boxes[position].key, context.rows[position][0]) for position in positions]
    repeats = await find_stored_identities(context.connection, identities)
    owners = [context.sample_boxes[position].organisation_id for position in positions]
    lacking = find_over_quota(owners, identities, repeats, context.quotas)
    _refuse(context, {positions[index]: quota for index, quota in lacking.items()})


def _find_exceeded(context: BatchContext, sent: NDArray[np.intp]) -> list[int]:
    """Return the numbers of the organisations that may have sent more than their quota."""
    owners, quotas = context.registry.organisations, context.quotas
    demand: Counter[SampleQuota] = Counter()
    present = np.flatnonzero(sent).tolist()
    for number in present:
        for quota in quotas.of(owners[number]):
            demand[quota] += int(sent[number])
    short = {quota for quota, samples in demand.items() if samples > quota.left}
    return [number for number in present if not short.isdisjoint(quotas.of(owners[number]))]


def find_over_quota(
    owners: Iterable[UUID],
    identities: Iterable[tuple[int, int]],
    repeats: frozenset[int],
    quotas: DailyQuotas,
) -> dict[int, SampleQuota]:
    """Find the samples that exceed a quota, and the quota that each exceeds. Pure.

    Args:
        owners: the organisation of each sample, in the order of arrival.
        identities: (box key, time) of each sample.
        repeats: the indexes of samples whose identity is stored.
        quotas: the quotas; they are not changed.
    """
    left: dict[SampleQuota, int] = {}
    taken: set[tuple[int, int]] = set()
    lacking: dict[int, SampleQuota] = {}
    for index, (owner, identity) in enumerate(zip(owners, identities, strict=True)):
        if index in repeats or identity in taken:
            continue
        its = quotas.of(owner)
        for quota in its:
            if left.setdefault(quota, quota.left) <= 0:
                lacking[index] = quota
                break
        else:
            taken.add(identity)
            for quota in its:
                left[quota] -= 1
    return lacking


def _refuse(context: BatchContext, lacking: dict[int, SampleQuota]) -> None:
    if not lacking:
        return
    until = format_us(from_datetime(find_day_end(context.now)))
    for position, quota in lacking.items():
        box, row = context.sample_boxes[position], context.rows[position]
        detail = _detail(quota, box.organisation_id, until)
        context.refuse_sample(context.origins[position], box.id, InputRejection(CODE, detail, row[1]), row)
        context.over_quota[box.organisation_id] += 1
        if quota.holder != box.organisation_id:
            context.over_quota[quota.holder] += 1
    accepted = [position for position in range(len(context.rows)) if position not in lacking]
    context.rows = [context.rows[position] for position in accepted]
    context.sample_boxes = [context.sample_boxes[position] for position in accepted]
    context.origins = [context.origins[position] for position in accepted]


def _detail(quota: SampleQuota, organisation_id: UUID, until: str) -> str:
    subject = (
        f"The organisation's quota of {quota.most} samples a day"
        if quota.holder == organisation_id
        else "The quota of samples a day of the organisation's integrator"
    )
    return (
        f"{subject} is used up until {until}. "
        "Replay the refused samples after that time, or once the quota is raised."
    )


def find_day_end(now: datetime) -> datetime:
    """Return the end of the UTC day, when quotas start again."""
    return datetime.combine(now.date() + timedelta(days=1), time(), UTC)


def count_quota_usage(context: BatchContext) -> dict[UUID, SampleQuotaUsage]:
    """Count the stored and the refused samples of a batch, by organisation."""
    stored: Counter[int] = Counter()
    batch_samples = context.batch_samples
    if batch_samples is not None:
        samples = np.bincount(_organisation_numbers(batch_samples.boxes), weights=batch_samples.groups.counts)
        stored.update({number: round(samples[number]) for number in np.flatnonzero(samples).tolist()})
        stored.subtract(context.sample_boxes[index].organisation_number for index in batch_samples.old)
    used = {context.registry.organisations[number]: samples for number, samples in stored.items() if samples}
    # A replay that is refused again is not a new refusal.
    over_quota = Counter[UUID]() if is_replaying() else context.over_quota
    return {
        organisation_id: SampleQuotaUsage(used.get(organisation_id, 0), over_quota[organisation_id])
        for organisation_id in used.keys() | over_quota.keys()
    }
