"""Reads metrics of the running stack: rates from the API's `/metrics`, totals from the database.

Counters of a process start at zero, those in the database at the first sample. Totals come from the database,
so that a restart does not look like a loss.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Final

import aiohttp
import asyncpg
from pydantic import SecretStr

_LINE = re.compile(r"^(?P<name>[a-zA-Z_:][\w:]*)(?:\{(?P<labels>.*)\})?\s+(?P<value>\S+)")
_OUTCOME = re.compile(r'(?:^|,)outcome="([^"]*)"')
_TIMEOUT_S: Final = 3.0
_TIMEOUT = aiohttp.ClientTimeout(total=_TIMEOUT_S)
# `app.timeseries` and `app.notifications` own these tables. Their modules would load SQLAlchemy into the
# parent process of `vigie up`, which needs little memory without it.
#
# A row for each day, door and connection: cheap to sum, however many samples there are.
_TOTALS: Final = """
SELECT coalesce(sum(stored), 0)::float8 AS stored, coalesce(sum(duplicate), 0)::float8 AS duplicates,
    coalesce(sum(rejected), 0)::float8 AS quarantined
FROM ingest_totals
"""
# Slow with millions of attempts: queried once, then the counters of the processes are added.
_ATTEMPTS: Final = "SELECT reason, count(*)::float8 AS attempts FROM delivery_attempts GROUP BY reason"
_UNREACHABLE: Final = (
    *(asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError),
    *(OSError, TimeoutError, ValueError),
)


@dataclass(frozen=True, slots=True)
class StackMetrics:
    """Totals since the processes started, as in `/metrics`; None if Vigie's metrics are missing."""

    messages: float | None = None
    stored: float | None = None
    duplicates: float | None = None
    quarantined: float | None = None
    firing: float | None = None
    deliveries: Mapping[str, float] = field(default_factory=dict)


def parse_metrics(text: str) -> StackMetrics:
    """Sum the metrics of the screen over their labels. Pure; unknown lines are skipped."""
    totals: dict[str, float] = {}
    deliveries: dict[str, float] = defaultdict(float)
    for line in text.splitlines():
        found = _LINE.match(line)
        if found is None:
            continue
        try:
            value = float(found["value"])
        except ValueError:
            continue
        name = found["name"]
        totals[name] = totals.get(name, 0.0) + value
        outcome = _OUTCOME.search(found["labels"] or "")
        if name == "vigie_deliveries_total" and outcome is not None:
            deliveries[outcome[1]] += value
    # A counter with labels is exposed after its first event: until then it is zero.
    missing = 0.0 if any(name.startswith("vigie_") for name in totals) else None
    return StackMetrics(
        messages=totals.get("vigie_ingest_messages_total", missing),
        stored=totals.get("vigie_samples_stored_total", missing),
        duplicates=totals.get("vigie_samples_duplicate_total", missing),
        quarantined=totals.get("vigie_quarantined_total", missing),
        firing=totals.get("vigie_alerts_firing", missing),
        deliveries=dict(deliveries),
    )


async def scrape_metrics(
    session: aiohttp.ClientSession, api: str, token: SecretStr | None
) -> StackMetrics | None:
    """Read the API's metrics with their token; None if it does not answer (it may be restarting)."""
    headers = {} if token is None else {"Authorization": f"Bearer {token.get_secret_value()}"}
    try:
        async with session.get(f"{api}/metrics", timeout=_TIMEOUT, headers=headers) as response:
            return parse_metrics(await response.text()) if response.ok else None
    except (aiohttp.ClientError, TimeoutError, OSError):
        return None


class DatabaseTotals:
    """Replaces the totals of processes by those of the database.

    Totals that cannot be read keep their last value, or that of the processes. No error is raised.

    Args:
        database: Its address for asyncpg.
    """

    def __init__(self, database: str | None) -> None:
        self._database = database
        self._connection: asyncpg.Connection | None = None
        self._totals: dict[str, float] = {}
        self._earlier: Counter[str] | None = None
        self._counted: Mapping[str, float] = {}

    async def complete(self, figures: StackMetrics | None) -> StackMetrics | None:
        """Return the figures with the totals of the database; None stays None."""
        if figures is None:
            return None
        try:
            await self._read(figures.deliveries)
        except _UNREACHABLE:
            await self.aclose()
        deliveries = Counter(self._earlier or {})
        deliveries.update(figures.deliveries)
        return replace(figures, **self._totals, deliveries=dict(deliveries))

    async def aclose(self) -> None:
        """Close the connection."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(*_UNREACHABLE):
                connection.terminate()

    async def _read(self, counted: Mapping[str, float]) -> None:
        if self._database is None:
            return
        if self._connection is None:
            self._connection = await asyncpg.connect(
                self._database,
                timeout=_TIMEOUT_S,
                command_timeout=_TIMEOUT_S,
                server_settings={"application_name": "vigie-screen", "default_transaction_read_only": "on"},
            )
        self._totals = dict(await self._connection.fetchrow(_TOTALS) or {})
        # A counter that decreased belongs to a restarted process.
        if any(counted.get(outcome, 0.0) < total for outcome, total in self._counted.items()):
            self._earlier = None
        self._counted = dict(counted)
        if self._earlier is None:
            self._earlier = Counter()  # set before the query, so that a query that times out is not repeated
            rows = await self._connection.fetch(_ATTEMPTS)
            self._earlier = Counter(
                {row["reason"]: row["attempts"] - counted.get(row["reason"], 0) for row in rows}
            )


async def is_api_ready(session: aiohttp.ClientSession, api: str) -> bool:
    """Return whether `/readyz` answers 200."""
    try:
        async with session.get(f"{api}/readyz", timeout=_TIMEOUT) as response:
            return response.status == 200  # noqa: PLR2004  # HTTP 200
    except (aiohttp.ClientError, TimeoutError, OSError):
        return False
