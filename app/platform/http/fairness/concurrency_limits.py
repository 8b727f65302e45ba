"""The lines that a request stands in: its key's, its organisation's, its integrator's.

Nobody has all places: neither an organisation nor an integrator with its clients is given as many turns as
there are database connections; and where all of these are taken, the next one goes round. Samples do not
wait behind a dashboard's requests, nor those behind samples: they have lines, and connections, of their own.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Hashable
from functools import partial
from typing import Final, Literal

from starlette.types import Message, Receive

from app.platform.config.api_settings import ApiSettings
from app.platform.http.contract.request_head import count_http_refusal
from app.platform.http.fairness.fair_semaphore import FairSemaphore
from app.platform.http.fairness.low_priority_queue import CpuShares, LowPriorityQueue, SteppedCoroutine
from app.platform.http.fairness.principal_groups import PrincipalGroup
from app.platform.kernel.errors import TooManyRequestsError

SAMPLES_CONNECTIONS: Final = 4
"""Database connections of a process by which samples are stored."""

# What comes with the head, or soon after, is worth no second wait.
_BODY_PATIENCE_S: Final = 0.1
# What a request took is told when it is as much as this, and at its end: an event stream has none.
_TOLD_S: Final = 0.005

type ConcurrencyLevel = Literal["key", "organisation", "integrator"]


class ConcurrencyLimits:
    """All lines of a process.

    Args:
        settings: How many of each run and wait.
        connections: Database connections for what brings no samples.
    """

    def __init__(self, settings: ApiSettings, *, connections: int) -> None:
        self._turns: dict[tuple[ConcurrencyLevel, bool], FairSemaphore] = {}
        self.precedence = (
            LowPriorityQueue(settings.waiting_per_organisation) if settings.running_per_organisation else None
        )
        # Who may ask without a limit may also work without one.
        self.shares = (
            CpuShares() if self.precedence is not None and settings.organisation_rate_per_s else None
        )
        for samples in (False, True):
            if settings.running_per_key:
                self._turns["key", samples] = FairSemaphore(
                    settings.running_per_key, settings.waiting_per_key
                )
            if not settings.running_per_organisation:
                continue
            places = SAMPLES_CONNECTIONS if samples else connections
            waiting = settings.waiting_per_organisation
            organisation = _but_one(settings.running_per_organisation, places)
            integrator = _but_one(max(settings.running_per_integrator, organisation), places)
            self._turns["organisation", samples] = FairSemaphore(organisation, waiting)
            self._turns["integrator", samples] = FairSemaphore(integrator, waiting, together=places)

    def of(self, line: ConcurrencyLevel, *, samples: bool) -> FairSemaphore | None:
        """One of them; None where it is switched off."""
        return self._turns.get((line, samples))


class RequestPermits:
    """The turns that one request has."""

    def __init__(self, lines: ConcurrencyLimits, *, samples: bool) -> None:
        self._lines = lines
        self._samples = samples
        # Turns among the requests of one's own, those of these that an answer under way needs no more, and
        # those among everybody's.
        self._own: list[Callable[[], None]] = []
        self._first: list[Callable[[], None]] = []
        self._shared: list[Callable[[], None]] = []
        self._again: Callable[[], Awaitable[None]] | None = None
        self._aside: Callable[[], Awaitable[None]] | None = None
        self._account: PrincipalGroup | None = None
        self._spent_s = 0.0

    async def enter(self, line: ConcurrencyLevel, subject: Hashable) -> None:
        """Wait for a turn in a line.

        Raises:
            TooManyRequestsError: Too many wait there already.
        """
        turns = self._lines.of(line, samples=self._samples)
        if turns is None:
            return
        if not await turns.enter(subject):
            raise self._too_many(line)
        (self._shared if line == "integrator" else self._own).append(partial(turns.leave, subject))

    async def enter_account(self, account: PrincipalGroup, *, yields: bool) -> None:
        """The same in the lines of an organisation and its integrator.

        Args:
            account: Theirs.
            yields: Whether it goes behind everybody else; else it does if they take much of the process.

        Raises:
            TooManyRequestsError: Too many wait there already.
        """
        precedence, shares = self._lines.precedence, self._lines.shares
        self._account = account
        if shares is not None and not self._samples:
            yields = yields or shares.is_much(account, time.monotonic())
        if precedence is not None and yields:
            # Before all else: what waits here must not have a place meanwhile.
            self._first.append(
                self._given(await precedence.line_up((account.organisation, self._samples)), "organisation")
            )
            self._aside = precedence.aside()
        await self.enter("organisation", account.organisation)
        self._again = partial(self._share, account, yields=yields)
        await self._again()

    async def _share(self, account: PrincipalGroup, *, yields: bool) -> None:
        precedence = self._lines.precedence
        if precedence is not None and yields:
            self._shared.append(
                self._given(await precedence.enter((account.tree, self._samples)), "integrator")
            )
        await self.enter("integrator", account.tree)
        if precedence is not None and not yields:
            precedence.begin()
            self._shared.append(precedence.end)

    def _given(self, leave: Callable[[], None] | None, line: ConcurrencyLevel) -> Callable[[], None]:
        if leave is None:
            raise self._too_many(line)
        return leave

    def while_reading(self, receive: Receive) -> Receive:
        """A `receive` that takes no place from others while the client takes long to send its body.

        Its own key and organisation go without that turn: what they send at once has to be kept meanwhile.
        """
        clock = asyncio.get_running_loop().time
        whole = slow = False
        # For all of it: a byte now and then is no reason to be patient again.
        patience_s = _BODY_PATIENCE_S

        async def receiving() -> Message:
            nonlocal whole, slow, patience_s
            if whole:
                return await receive()
            coming = asyncio.ensure_future(receive())
            try:
                began = clock()
                await asyncio.wait({coming}, timeout=patience_s)
                patience_s = max(0.0, patience_s - (clock() - began))
                if not coming.done():
                    slow = True
                    self._give_back(self._shared)
                message = await coming
            finally:
                coming.cancel()
            whole = not message.get("more_body", False)
            if whole and slow and self._again is not None:
                await self._again()
            return message

        return receiving

    async def paced(self, work: Awaitable[None]) -> None:
        """Work on the request; one that yields stands aside for others between its steps too."""
        if self._lines.precedence is None:
            await work
            return
        try:
            await SteppedCoroutine(work, pause=self._pause, spent=self._spend)
        finally:
            self._tell_spent()

    def _pause(self) -> Awaitable[None] | None:
        return None if self._aside is None else self._aside()

    def _spend(self, seconds: float) -> None:
        self._spent_s += seconds
        if self._spent_s >= _TOLD_S:
            self._tell_spent()

    def _tell_spent(self) -> None:
        shares = self._lines.shares
        # Samples have limits of their own, which are the service itself.
        if shares is not None and self._account is not None and not self._samples:
            shares.add(self._account, self._spent_s, time.monotonic())
            self._spent_s = 0.0

    def share(self) -> None:
        """Give back, for good, those that others wait for too; once is enough."""
        self._again = None
        self._give_back(self._shared)
        self._give_back(self._first)

    def leave(self) -> None:
        """Give all of them back; once is enough."""
        self.share()
        self._give_back(self._own)

    @staticmethod
    def _give_back(turns: list[Callable[[], None]]) -> None:
        while turns:
            turns.pop()()

    def _too_many(self, line: ConcurrencyLevel) -> TooManyRequestsError:
        error = TooManyRequestsError(
            "Too many requests at once: wait for some to be answered.",
            retry_after_s=1,
            code="too_many_requests_at_once",
        )
        count_http_refusal(error, policy=f"{line}_telemetry" if self._samples else line)
        return error


def _but_one(wanted: int, places: int) -> int:
    return max(1, min(wanted, places - 1))
