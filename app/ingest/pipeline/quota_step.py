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
_owner_of = attrgetter("owner")


def _owners_of(boxes: Sequence[RegisteredBox]) -> NDArray[np.intp]:
    """The number of each box's organisation: `Edition.owners` has whose it is."""
    return np.fromiter(map(_owner_of, boxes), np.intp, len(boxes))


async def enforce_quotas(work: BatchContext) -> None:
    """Refuse what exceeds a quota; the others go on."""
    if not work.rows or work.accounts.have_room(len(work.rows)):
        return
    numbers = _owners_of(work.sample_boxes)
    places = np.flatnonzero(np.isin(numbers, _tight(work, np.bincount(numbers)))).tolist()
    if not places:
        return
    identities = [(work.sample_boxes[place].key, work.rows[place][0]) for place in places]
    repeats = await find_stored_identities(work.connection, identities)
    owners = [work.sample_boxes[place].organisation_id for place in places]
    lacking = find_over_quota(owners, identities, repeats, work.accounts)
    _refuse(work, {places[index]: account for index, account in lacking.items()})


def _tight(work: BatchContext, sent: NDArray[np.intp]) -> list[int]:
    """The numbers of the organisations that may have sent more than there is room for."""
    owners, accounts = work.registry.owners, work.accounts
    wanted: Counter[SampleQuota] = Counter()
    present = np.flatnonzero(sent).tolist()
    for number in present:
        for account in accounts.of(owners[number]):
            wanted[account] += int(sent[number])
    short = {account for account, samples in wanted.items() if samples > account.left}
    return [number for number in present if not short.isdisjoint(accounts.of(owners[number]))]


def find_over_quota(
    owners: Iterable[UUID],
    identities: Iterable[tuple[int, int]],
    repeats: frozenset[int],
    accounts: DailyQuotas,
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
        its = accounts.of(owner)
        for account in its:
            if left.setdefault(account, account.left) <= 0:
                lacking[index] = account
                break
        else:
            taken.add(identity)
            for account in its:
                left[account] -= 1
    return lacking


def _refuse(work: BatchContext, lacking: dict[int, SampleQuota]) -> None:
    if not lacking:
        return
    until = format_us(from_datetime(find_day_end(work.now)))
    for place, account in lacking.items():
        box, row = work.sample_boxes[place], work.rows[place]
        detail = _detail(account, box.organisation_id, until)
        work.refuse_sample(work.origins[place], box.id, InputRejection(CODE, detail, row[1]), row)
        work.over[box.organisation_id] += 1
        if account.holder != box.organisation_id:
            work.over[account.holder] += 1
    kept = [place for place in range(len(work.rows)) if place not in lacking]
    work.rows = [work.rows[place] for place in kept]
    work.sample_boxes = [work.sample_boxes[place] for place in kept]
    work.origins = [work.origins[place] for place in kept]


def _detail(account: SampleQuota, organisation_id: UUID, until: str) -> str:
    whose = (
        f"The organisation's quota of {account.most} samples a day"
        if account.holder == organisation_id
        else "The quota of samples a day of the organisation's integrator"
    )
    return f"{whose} is used up until {until}. Replay what was refused once it is raised, or the day is over."


def find_day_end(now: datetime) -> datetime:
    """When the day (UTC) ends, and with it what was used."""
    return datetime.combine(now.date() + timedelta(days=1), time(), UTC)


def count_quota_usage(work: BatchContext) -> dict[UUID, SampleQuotaUsage]:
    """What a batch has used and was refused, by organisation."""
    stored: Counter[int] = Counter()
    recalled = work.recalled
    if recalled is not None:
        samples = np.bincount(_owners_of(recalled.boxes), weights=recalled.groups.counts)
        stored.update({number: round(samples[number]) for number in np.flatnonzero(samples).tolist()})
        stored.subtract(work.sample_boxes[index].owner for index in recalled.old)
    used = {work.registry.owners[number]: samples for number, samples in stored.items() if samples}
    # What is refused again by a replay is no new refusal.
    over = Counter[UUID]() if is_replaying() else work.over
    return {
        organisation_id: SampleQuotaUsage(used.get(organisation_id, 0), over[organisation_id])
        for organisation_id in used.keys() | over.keys()
    }
