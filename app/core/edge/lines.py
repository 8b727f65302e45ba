"""The lines that a request stands in: its key's, its organisation's, its integrator's.

Nobody has all places: neither an organisation nor an integrator with its clients is given as many turns as
there are database connections; and where all of these are taken, the next one goes round. Samples do not
wait behind a dashboard's requests, nor those behind samples: they have lines, and connections, of their own.
"""

from collections.abc import Callable, Hashable
from functools import partial
from typing import Final, Literal

from app.core.api_settings import ApiSettings
from app.core.edge.accounts import Account
from app.core.edge.precedence import Precedence
from app.core.edge.refuse import count
from app.core.edge.turns import Turns
from app.core.errors import TooManyRequestsError

SAMPLES_CONNECTIONS: Final = 4
"""Database connections of a process by which samples are stored."""

type Line = Literal["key", "organisation", "integrator"]


class Lines:
    """All lines of a process.

    Args:
        settings: How many of each run and wait.
        connections: Database connections for what brings no samples.
    """

    def __init__(self, settings: ApiSettings, *, connections: int) -> None:
        self._turns: dict[tuple[Line, bool], Turns] = {}
        self.precedence = (
            Precedence(settings.waiting_per_organisation) if settings.running_per_organisation else None
        )
        for samples in (False, True):
            if settings.running_per_key:
                self._turns["key", samples] = Turns(settings.running_per_key, settings.waiting_per_key)
            if not settings.running_per_organisation:
                continue
            places = SAMPLES_CONNECTIONS if samples else connections
            waiting = settings.waiting_per_organisation
            organisation = _but_one(settings.running_per_organisation, places)
            integrator = _but_one(max(settings.running_per_integrator, organisation), places)
            self._turns["organisation", samples] = Turns(organisation, waiting)
            self._turns["integrator", samples] = Turns(integrator, waiting, together=places)

    def of(self, line: Line, *, samples: bool) -> Turns | None:
        """One of them; None where it is switched off."""
        return self._turns.get((line, samples))


class Held:
    """The turns that one request has."""

    def __init__(self, lines: Lines, *, samples: bool) -> None:
        self._lines = lines
        self._samples = samples
        self._held: list[Callable[[], None]] = []

    async def enter(self, line: Line, subject: Hashable) -> None:
        """Wait for a turn in a line.

        Raises:
            TooManyRequestsError: Too many wait there already.
        """
        turns = self._lines.of(line, samples=self._samples)
        if turns is None:
            return
        if not await turns.enter(subject):
            raise self._too_many(line)
        self._held.append(partial(turns.leave, subject))

    async def enter_account(self, account: Account, *, yields: bool) -> None:
        """The same in the lines of an organisation and its integrator.

        Args:
            account: Theirs.
            yields: Whether it goes behind everybody else.

        Raises:
            TooManyRequestsError: Too many wait there already.
        """
        precedence = self._lines.precedence
        if precedence is not None and yields:
            # Before all else: what waits here must not have a place meanwhile.
            leave = await precedence.enter((account.tree, self._samples))
            if leave is None:
                raise self._too_many("organisation")
            self._held.append(leave)
        await self.enter("organisation", account.organisation)
        await self.enter("integrator", account.tree)
        if precedence is not None and not yields:
            precedence.begin()
            self._held.append(precedence.end)

    def leave(self) -> None:
        """Give all of them back; once is enough."""
        while self._held:
            self._held.pop()()

    def _too_many(self, line: Line) -> TooManyRequestsError:
        error = TooManyRequestsError(
            "Too many requests at once: wait for some to be answered.",
            retry_after_s=1,
            code="too_many_requests_at_once",
        )
        count(error, policy=f"{line}_telemetry" if self._samples else line)
        return error


def _but_one(wanted: int, places: int) -> int:
    return max(1, min(wanted, places - 1))
