"""Limits the mails that an organisation sends in an hour, in the memory of one process.

Clients choose the recipients: without a rate limit they could flood mailboxes. A mail counts while it is
being sent, and for an hour after the server accepted it.
"""

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final
from uuid import UUID

HOUR_S: Final = 3600.0
_LONGEST_ATTEMPT_S: Final = 30.0


class MailQuotaExceededError(Exception):
    """The hourly quota is used up; retry in `retry_after_s` seconds."""

    def __init__(self, retry_after_s: float) -> None:
        super().__init__(f"retry in {retry_after_s:g} s")
        self.retry_after_s = retry_after_s


class MailReservation:
    """A mail that is being sent. Set `is_sent` once the server accepted it."""

    def __init__(self) -> None:
        self.is_sent = False


class HourlyMailQuota:
    """Counts the mails of the last hour by organisation.

    Args:
        most: The most mails an hour of one organisation; 0: no limit.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._sent: dict[UUID, deque[float]] = {}
        self._under_way: dict[UUID, int] = {}

    @contextmanager
    def reserve(self, organisation: UUID, now: float) -> Iterator[MailReservation]:
        """Reserve quota for a mail while it is being sent.

        Args:
            organisation: The organisation that sends the mail.
            now: A monotonic time, in seconds.

        Raises:
            MailQuotaExceededError: The quota is used up.
        """
        reservation = MailReservation()
        if not self._most:
            yield reservation
            return
        self._remove_old(now - HOUR_S)
        sent = self._sent.get(organisation, ())
        under_way = self._under_way.get(organisation, 0)
        if len(sent) + under_way >= self._most:
            raise MailQuotaExceededError(sent[0] + HOUR_S - now if sent else _LONGEST_ATTEMPT_S)
        self._under_way[organisation] = under_way + 1
        try:
            yield reservation
        finally:
            self._under_way[organisation] -= 1
            if not self._under_way[organisation]:
                del self._under_way[organisation]
            if reservation.is_sent:
                self._sent.setdefault(organisation, deque()).append(now)

    def _remove_old(self, before: float) -> None:
        for organisation in list(self._sent):
            times = self._sent[organisation]
            while times and times[0] <= before:
                times.popleft()
            if not times:
                del self._sent[organisation]
