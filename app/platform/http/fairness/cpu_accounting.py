"""Who takes much of the process: for how long it worked on somebody's requests in the last seconds.

The rates count requests, whatever each costs: within them one tenant can fill the process. What it takes is
counted here, and decides about nothing but who goes behind whom. It is the time in which the process did
nothing else: who waits for the database, or behind others, is not charged for that.

Pure: the clock is an argument.
"""

from collections import OrderedDict
from collections.abc import Hashable
from typing import Final

from app.platform.http.fairness.principal_groups import PrincipalGroup
from app.platform.http.fairness.token_buckets import MOST_SUBJECTS

# Of the process, in the long run; an integrator with all its clients may have more than one of them.
_ORGANISATION: Final = 1 / 3
_INTEGRATOR: Final = 1 / 2
# Beyond its share: so much at once is not much yet, and of no more is it reminded later.
_ALLOWED_S: Final = 0.5
_REMEMBERED_S: Final = 2.0


class CpuUsage:
    """What each subject took beyond a share of the process, as the one time at which that is forgotten.

    Args:
        share: the part of the process that is nobody's matter.
        most: subjects that are kept; whoever was away longest is forgotten first.
    """

    def __init__(self, share: float, *, most: int = MOST_SUBJECTS) -> None:
        self._share = share
        self._most = most
        # Used last stands last.
        self._over_at: OrderedDict[Hashable, float] = OrderedDict()

    def __len__(self) -> int:
        return len(self._over_at)

    def add(self, subject: Hashable, seconds: float, now: float) -> None:
        """The process worked on this subject's requests for so long."""
        over_at = max(self._over_at.get(subject, now), now) + seconds / self._share
        self._over_at[subject] = min(over_at, now + _REMEMBERED_S / self._share)
        self._over_at.move_to_end(subject)
        if len(self._over_at) > self._most:
            self._over_at.popitem(last=False)

    def is_much(self, subject: Hashable, now: float) -> bool:
        """Whether it took more than its share lately."""
        return (self._over_at.get(subject, now) - now) * self._share > _ALLOWED_S


class CpuShares:
    """The work of a process, by organisation and by integrator."""

    def __init__(self) -> None:
        self._organisations = CpuUsage(_ORGANISATION)
        self._integrators = CpuUsage(_INTEGRATOR)

    def add(self, account: PrincipalGroup, seconds: float, now: float) -> None:
        """The process worked on a request of theirs for so long."""
        self._organisations.add(account.organisation, seconds, now)
        self._integrators.add(account.tree, seconds, now)

    def is_much(self, account: PrincipalGroup, now: float) -> bool:
        """Whether their requests take much of the process."""
        return self._organisations.is_much(account.organisation, now) or self._integrators.is_much(
            account.tree, now
        )
