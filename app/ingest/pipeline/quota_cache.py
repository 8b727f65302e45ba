"""How many samples each organisation may still store today, as this process knows it.

The database has what all processes have stored, exactly (`app.timeseries.storage.ingest_totals`). Each
process reads it once a second, and counts itself what it stores meanwhile: an organisation can exceed its
quota by what other processes take in for it within that second, and by no more.
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
    """A quota of samples, of one organisation or of an integrator and its clients together.

    Attributes:
        holder: whose quota it is.
        most: how many samples a day.
        used: how many of them are stored.
    """

    holder: UUID
    most: int
    used: int

    @property
    def left(self) -> int:
        """How many more may be stored; not less than 0."""
        return max(self.most - self.used, 0)


class DailyQuotas:
    """The quotas that hold on one day, as they were when they were read, and what was stored since."""

    def __init__(self, rows: Iterable[SampleQuotaRow] = ()) -> None:
        holders: dict[UUID, SampleQuota] = {}
        self._of: dict[UUID, list[SampleQuota]] = {}
        for row in rows:
            quota = holders.setdefault(row.holder, SampleQuota(row.holder, row.most, 0))
            quota.used += row.used
            self._of.setdefault(row.owner, []).append(quota)
        self._all = tuple(holders.values())

    def of(self, organisation_id: UUID) -> Sequence[SampleQuota]:
        """The quotas that hold for an organisation: its own, its integrator's, both or none."""
        return self._of.get(organisation_id, ())

    def have_room(self, samples: int) -> bool:
        """Tell whether so many may be stored, whoever's they are."""
        return all(quota.left >= samples for quota in self._all)

    def add_usage(self, stored: Mapping[UUID, int]) -> None:
        """Take note of what was stored, by organisation."""
        for organisation_id, samples in stored.items():
            for quota in self.of(organisation_id):
                quota.used += samples


UNLIMITED: Final = DailyQuotas()


class QuotaCache:
    """One process's knowledge of the quotas of samples.

    Args:
        default: the installation's quota, for those without one of their own; None: they have none.
        every_s: how old that knowledge may be, in seconds.
        clock: monotonic, in seconds.
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
        """The quotas of a day, read anew where they are too old, or of another day.

        Args:
            connection: of a process that works for everybody.
            now: says which day (UTC) it is.
            at_once: read them however young they are.
        """
        began = self._clock()
        if force or now.date() != self._day or began - self._read_at >= self._every_s:
            quotas = DailyQuotas(await load_sample_quotas(connection, now.date(), self._default))
            self.quotas, self._day, self._read_at = quotas, now.date(), began
        return self.quotas

    def add_usage(self, quotas: DailyQuotas, stored: Mapping[UUID, int]) -> None:
        """Take note of what was committed under quotas that `refresh` gave.

        Not where they were read anew meanwhile: then it may be counted among what was read.
        """
        if quotas is self.quotas:
            quotas.add_usage(stored)
