"""Limits the recipients of an organisation's mails in an hour, in the memory of one process.

Clients choose the recipients: without a rate limit they could flood mailboxes. Each recipient of a mail
counts while it is being sent, and for an hour after the server accepted it.
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
    """Counts the recipients of the last hour by organisation.

    Args:
        most: The most recipients an hour of one organisation; 0: no limit.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._sent: dict[UUID, deque[tuple[float, int]]] = {}
        self._under_way: dict[UUID, int] = {}

    @contextmanager
    def reserve(self, organisation: UUID, recipients: int, now: float) -> Iterator[MailReservation]:
        """Reserve quota for a mail while it is being sent.

        A mail with more recipients than the quota takes all of it: otherwise it could never be sent.

        Args:
            organisation: The organisation that sends the mail.
            recipients: The number of its recipients.
            now: A monotonic time, in seconds.

        Raises:
            MailQuotaExceededError: The quota is used up.
        """
        reservation = MailReservation()
        if not self._most:
            yield reservation
            return
        self._remove_old(now - HOUR_S)
        cost = min(recipients, self._most)
        under_way = self._under_way.get(organisation, 0)
        wait_s = self._compute_wait_s(organisation, under_way + cost - self._most, now)
        if wait_s is not None:
            raise MailQuotaExceededError(wait_s)
        self._under_way[organisation] = under_way + cost
        try:
            yield reservation
        finally:
            self._under_way[organisation] -= cost
            if not self._under_way[organisation]:
                del self._under_way[organisation]
            if reservation.is_sent:
                self._sent.setdefault(organisation, deque()).append((now, cost))

    def _compute_wait_s(self, organisation: UUID, excess: int, now: float) -> float | None:
        """Return the seconds until the mails of the last hour leave room; None: there is room now.

        Args:
            organisation: The organisation.
            excess: The recipients above the quota, without those of the last hour.
            now: A monotonic time, in seconds.
        """
        sent = self._sent.get(organisation, ())
        excess += sum(cost for _, cost in sent)
        wait_s = None
        for at, cost in sent:
            if excess <= 0:
                break
            excess -= cost
            wait_s = at + HOUR_S - now
        # The rest is being sent: an attempt ends, or fails, in this time.
        return max(wait_s or 0.0, _LONGEST_ATTEMPT_S) if excess > 0 else wait_s

    def _remove_old(self, before: float) -> None:
        for organisation in list(self._sent):
            times = self._sent[organisation]
            while times and times[0][0] <= before:
                times.popleft()
            if not times:
                del self._sent[organisation]
