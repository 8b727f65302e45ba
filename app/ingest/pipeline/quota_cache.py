"""Caches the daily sample quotas of organisations in this process.

The database counts the samples of all processes exactly (`app.timeseries.storage.ingest_totals`). Each
process reads it once a second and adds its own commits in between. An organisation can therefore exceed its
quota by what other processes store for it within one second.
"""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Final
from uuid import UUID

from app.platform.db.database import RawConnection
from app.registry.quota_service import SampleQuotaRow, load_sample_quotas

_EVERY_S: Final = 1.0


@dataclass(slots=True, eq=False)
class SampleQuota:
    """A daily quota of samples, for one organisation or for an integrator with its clients.

    Attributes:
        holder: the organisation that has the quota.
        most: samples per day.
        used: samples stored today.
    """

    holder: UUID
    most: int
    used: int

    @property
    def left(self) -> int:
        """Samples that may still be stored, at least 0."""
        return max(self.most - self.used, 0)


class DailyQuotas:
    """The quotas of one day as they were read, plus what this process stored since."""

    def __init__(self, rows: Iterable[SampleQuotaRow] = ()) -> None:
        holders: dict[UUID, SampleQuota] = {}
        self._of: dict[UUID, list[SampleQuota]] = {}
        for row in rows:
            quota = holders.setdefault(row.holder, SampleQuota(row.holder, row.most, 0))
            quota.used += row.used
            self._of.setdefault(row.owner, []).append(quota)
        self._all = tuple(holders.values())

    def of(self, organisation_id: UUID) -> Sequence[SampleQuota]:
        """Return the quotas of an organisation: its own, its integrator's, both or none."""
        return self._of.get(organisation_id, ())

    def have_room(self, samples: int) -> bool:
        """Whether every quota has room for this many samples."""
        return all(quota.left >= samples for quota in self._all)

    def add_usage(self, stored: Mapping[UUID, int]) -> None:
        """Add stored samples, by organisation."""
        for organisation_id, samples in stored.items():
            for quota in self.of(organisation_id):
                quota.used += samples


UNLIMITED: Final = DailyQuotas()


class QuotaCache:
    """The sample quotas as this process knows them.

    Args:
        default: the quota of organisations without their own; None for no limit.
        every_s: how old the cached quotas may be, in seconds.
        clock: a monotonic clock, in seconds.
    """

    def __init__(
        self,
        default: int | None = None,
        *,
        every_s: float = _EVERY_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.quotas = UNLIMITED
        self._default = default
        self._every_s = every_s
        self._clock = clock
        self._day: date | None = None
        self._read_at = 0.0

    async def refresh(self, connection: RawConnection, now: datetime, *, force: bool = False) -> DailyQuotas:
        """Return the quotas of a day, read again if they are too old or of another day.

        Args:
            connection: a connection that sees all organisations.
            now: the time of the batch; its UTC date is the day.
            force: read them even if they are fresh.
        """
        began = self._clock()
        if force or now.date() != self._day or began - self._read_at >= self._every_s:
            quotas = DailyQuotas(await load_sample_quotas(connection, now.date(), self._default))
            self.quotas, self._day, self._read_at = quotas, now.date(), began
        return self.quotas

    def add_usage(self, quotas: DailyQuotas, stored: Mapping[UUID, int]) -> None:
        """Add what was committed under quotas that `refresh` returned.

        If the quotas were read again since, the commit may be included in them and is not added.
        """
        if quotas is self.quotas:
            quotas.add_usage(stored)
