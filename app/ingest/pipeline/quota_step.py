"""Refuses samples above the daily quota of their organisation (step `enforce_quotas`).

In the order of arrival, as many are taken as there is room for. Repeats take none, and are never refused:
what the broker gives a second time must not be told to be lost. Events, statuses and configurations have no
quota: what a box has recognised is never too much.
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
_owner_of = attrgetter("organisation_number")


def _owners_of(boxes: Sequence[RegisteredBox]) -> NDArray[np.intp]:
    """The number of each box's organisation: `Edition.owners` has whose it is."""
    return np.fromiter(map(_owner_of, boxes), np.intp, len(boxes))


async def enforce_quotas(context: BatchContext) -> None:
    """Refuse what exceeds a quota; the others go on."""
    if not context.rows or context.quotas.have_room(len(context.rows)):
        return
    numbers = _owners_of(context.sample_boxes)
    positions = np.flatnonzero(np.isin(numbers, _tight(context, np.bincount(numbers)))).tolist()
    if not positions:
        return
    identities = [(context.sample_boxes[position].key, context.rows[position][0]) for position in positions]
    repeats = await find_stored_identities(context.connection, identities)
    owners = [context.sample_boxes[position].organisation_id for position in positions]
    lacking = find_over_quota(owners, identities, repeats, context.quotas)
    _refuse(context, {positions[index]: quota for index, quota in lacking.items()})


def _tight(context: BatchContext, sent: NDArray[np.intp]) -> list[int]:
    """The numbers of the organisations that may have sent more than there is room for."""
    owners, quotas = context.registry.organisations, context.quotas
    wanted: Counter[SampleQuota] = Counter()
    present = np.flatnonzero(sent).tolist()
    for number in present:
        for quota in quotas.of(owners[number]):
            wanted[quota] += int(sent[number])
    short = {quota for quota, samples in wanted.items() if samples > quota.left}
    return [number for number in present if not short.isdisjoint(quotas.of(owners[number]))]


def find_over_quota(
    owners: Iterable[UUID],
    identities: Iterable[tuple[int, int]],
    repeats: frozenset[int],
    quotas: DailyQuotas,
) -> dict[int, SampleQuota]:
    """Say which samples there is no room for, and by whose quota. Pure.

    Args:
        owners: whose each sample is, in the order of arrival.
        identities: the box's key and the time of each.
        repeats: the indexes of those whose identity is stored.
        accounts: the quotas, which are not changed.
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
    kept = [position for position in range(len(context.rows)) if position not in lacking]
    context.rows = [context.rows[position] for position in kept]
    context.sample_boxes = [context.sample_boxes[position] for position in kept]
    context.origins = [context.origins[position] for position in kept]


def _detail(quota: SampleQuota, organisation_id: UUID, until: str) -> str:
    whose = (
        f"The organisation's quota of {quota.most} samples a day"
        if quota.holder == organisation_id
        else "The quota of samples a day of the organisation's integrator"
    )
    return f"{whose} is used up until {until}. Replay what was refused once it is raised, or the day is over."


def find_day_end(now: datetime) -> datetime:
    """When the day (UTC) ends, and with it what was used."""
    return datetime.combine(now.date() + timedelta(days=1), time(), UTC)


def count_quota_usage(context: BatchContext) -> dict[UUID, SampleQuotaUsage]:
    """What a batch has used and was refused, by organisation."""
    stored: Counter[int] = Counter()
    batch_samples = context.batch_samples
    if batch_samples is not None:
        samples = np.bincount(_owners_of(batch_samples.boxes), weights=batch_samples.groups.counts)
        stored.update({number: round(samples[number]) for number in np.flatnonzero(samples).tolist()})
        stored.subtract(context.sample_boxes[index].organisation_number for index in batch_samples.old)
    used = {context.registry.organisations[number]: samples for number, samples in stored.items() if samples}
    # What is refused again by a replay is no new refusal.
    over_quota = Counter[UUID]() if is_replaying() else context.over_quota
    return {
        organisation_id: SampleQuotaUsage(used.get(organisation_id, 0), over_quota[organisation_id])
        for organisation_id in used.keys() | over_quota.keys()
    }
