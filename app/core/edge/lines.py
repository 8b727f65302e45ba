"""The lines that a request stands in: its key's, its organisation's, its integrator's.

Nobody has all places: neither an organisation nor an integrator with its clients is given as many turns as
there are database connections; and where all of these are taken, the next one goes round. Samples do not
wait behind a dashboard's requests, nor those behind samples: they have lines, and connections, of their own.
"""

from collections.abc import Hashable
from typing import Final, Literal

from app.core.api_settings import ApiSettings
from app.core.edge.accounts import Account
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
        self._held: list[tuple[Turns, Hashable]] = []

    async def enter(self, line: Line, subject: Hashable) -> None:
        """Wait for a turn in a line.

        Raises:
            TooManyRequestsError: Too many wait there already.
        """
        turns = self._lines.of(line, samples=self._samples)
        if turns is None:
            return
        if not await turns.enter(subject):
            error = TooManyRequestsError(
                "Too many requests at once: wait for some to be answered.",
                retry_after_s=1,
                code="too_many_requests_at_once",
            )
            count(error, policy=f"{line}_telemetry" if self._samples else line)
            raise error
        self._held.append((turns, subject))

    async def enter_account(self, account: Account) -> None:
        """The same in the lines of an organisation and its integrator."""
        await self.enter("organisation", account.organisation)
        await self.enter("integrator", account.tree)

    def leave(self) -> None:
        """Give all of them back; once is enough."""
        while self._held:
            turns, subject = self._held.pop()
            turns.leave(subject)


def _but_one(wanted: int, places: int) -> int:
    return max(1, min(wanted, places - 1))
