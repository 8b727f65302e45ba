"""Measures back-tests of rules on a year of one box, a sample a minute."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import asyncpg

from bench.load import box_id
from bench.process import FailedError
from bench.stack import BenchStack

MINUTES: Final = 525_600
"""Samples of a year."""

_START: Final = datetime(2025, 1, 1, tzinfo=UTC)
_WITHIN_S: Final = 200.0
# The day's rhythm, weather that comes and goes, some noise: as dust does, it passes 25 µg/m³ now and then.
_FILL: Final = """
INSERT INTO samples (box_key, time, pm2_5, temperature)
SELECT b.key, $2::timestamptz + n * interval '1 minute',
    greatest(0, 12 + 6 * sin(n / 229.0) + 8 * sin(n / 9700.0) + 3 * random())::real,
    (12 + 8 * sin(n / 229.0) + random())::real
FROM boxes b, generate_series(0, $3::int - 1) AS n
WHERE b.id = $1
"""
_DUST: Final = {"metric": "pm2_5", "operator": ">", "threshold": 25, "clear": 20}
RULES: Final[Mapping[str, dict[str, Any]]] = {
    "a threshold, for ten minutes": {**_DUST, "for": "PT10M"},
    "a mean over an hour": {**_DUST, "threshold": 22, "function": "mean", "window": "PT1H"},
    "a mean over 24 hours, with three quarters of the samples": {
        **_DUST,
        "threshold": 20,
        "clear": 18,
        "function": "mean",
        "window": "PT24H",
        "coverage": 75,
    },
}
"""The conditions, by their label in the report."""


@dataclass(frozen=True, slots=True)
class BacktestRun:
    """One back-test.

    Attributes:
        name: what was tried.
        samples: on so many.
        seconds: of reading and judging them.
        alerts: that it would have made.
    """

    name: str
    samples: int
    seconds: float
    alerts: int

    def row(self) -> list[str]:
        """Return the cells of the report's table."""
        return [
            self.name,
            f"{self.samples:,}",
            f"{self.seconds:.1f} s",
            f"{self.samples / self.seconds:,.0f}",
            f"{self.alerts:,}",
        ]

    def line(self) -> str:
        """Format the run as a line of progress."""
        return (
            f"{self.name}: {self.samples:,} samples in {self.seconds:.1f} s, "
            f"{self.samples / self.seconds:,.0f} a second; {self.alerts:,} alerts"
        )


HEAD: Final = ["condition", "samples", "time", "samples/s", "alerts"]


async def measure(stack: BenchStack, *, samples: int = MINUTES) -> list[BacktestRun]:
    """Fill a year, and try each rule on it.

    Raises:
        FailedError: a back-test gave no result.
    """
    database = await stack.database("backtests")
    (site,) = await stack.fleet(database, boxes=1, rules_per_site=0, sites=1)
    connection = await asyncpg.connect(database)
    try:
        await connection.execute(_FILL, box_id(0), _START, samples, timeout=120)
        await connection.execute("VACUUM ANALYZE samples", timeout=120)
    finally:
        await connection.close()
    end = _START + timedelta(minutes=samples)
    asked = {"site_id": site, "from": _START.isoformat(), "to": end.isoformat()}
    async with stack.api(database) as client, stack.role("maintain", database):
        tried = []
        for name, condition in RULES.items():
            rule = {"severity": "warning", "condition": condition}
            found = await client.call("POST", "/v1/rules/backtest?wait=30", {**asked, "rule": rule})
            async with asyncio.timeout(_WITHIN_S):
                while found["state"] in {"queued", "running"}:
                    await asyncio.sleep(0.5)
                    found = await client.get(f"/v1/rules/backtests/{found['id']}")
            if found["state"] != "done":
                raise FailedError(f"{name}: {found['state']}, {found['error']}")
            summary = found["result"]["summary"]
            tried.append(BacktestRun(name, summary["samples"], summary["elapsed_s"], summary["alerts"]))
    await stack.drop("backtests")
    return tried
