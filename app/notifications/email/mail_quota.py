"""How many mails an organisation may send in an hour. In memory, of one process; no clock of its own.

Recipients are whoever a client names: without a limit a mail server could be used to flood others' mailboxes.
A mail counts once the server has taken it, and while it is under way.
"""

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final
from uuid import UUID

HOUR_S: Final = 3600.0
_UNDER_WAY_S: Final = 30.0  # no attempt lasts longer


class MailQuotaExceededError(Exception):
    """The hour's mails are sent; there is room again in `retry_after_s` seconds."""

    def __init__(self, retry_after_s: float) -> None:
        super().__init__(f"room in {retry_after_s:g} s")
        self.retry_after_s = retry_after_s


class MailReservation:
    """A mail that is under way. Set `taken` where the server took it."""

    def __init__(self) -> None:
        self.taken = False


class HourlyMailQuota:
    """The mails of the last hour, by organisation.

    Args:
        most: In an hour, of one organisation; 0: no limit.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._sent: dict[UUID, deque[float]] = {}
        self._under_way: dict[UUID, int] = {}

    @contextmanager
    def place(self, organisation: UUID, now: float) -> Iterator[MailReservation]:
        """Keep room for one mail while it is sent.

        Args:
            organisation: Whose mail it is.
            now: By a clock that does not go back, in seconds.

        Raises:
            QuotaExceededError: There is none.
        """
        place = MailReservation()
        if not self._most:
            yield place
            return
        self._forget(now - HOUR_S)
        sent = self._sent.get(organisation, ())
        under_way = self._under_way.get(organisation, 0)
        if len(sent) + under_way >= self._most:
            raise MailQuotaExceededError(sent[0] + HOUR_S - now if sent else _UNDER_WAY_S)
        self._under_way[organisation] = under_way + 1
        try:
            yield place
        finally:
            self._under_way[organisation] -= 1
            if not self._under_way[organisation]:
                del self._under_way[organisation]
            if place.taken:
                self._sent.setdefault(organisation, deque()).append(now)

    def _forget(self, before: float) -> None:
        for organisation in list(self._sent):
            times = self._sent[organisation]
            while times and times[0] <= before:
                times.popleft()
            if not times:
                del self._sent[organisation]
