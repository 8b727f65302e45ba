"""Compares the ledger of a drill's case with the database and the received webhooks, and writes the table."""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

import asyncpg

from app.platform.db.database import DATABASE_ERRORS
from app.platform.kernel.instants import US_PER_MS, from_datetime
from tools.clusters.box_load import BoxLoad
from tools.clusters.city_cluster import CityCluster
from tools.clusters.expected_alerts import (
    SITE_RULE,
    STOP_RULE,
    AlertComparison,
    DueAlert,
    FiredAlert,
)
from tools.rehearsals.webhook_ledger import WebhookLedger

_STORED: Final = """
SELECT b.id AS box, count(*) AS rows, count(DISTINCT s.seq) AS numbers
FROM samples s JOIN boxes b ON b.key = s.box_key
JOIN unnest($1::text[], $2::bigint[]) AS first (box, seq) ON first.box = b.id AND s.seq >= first.seq
GROUP BY b.id
"""
ALERTS: Final = """
SELECT a.id, a.box, a.site_id, a.started_at, a.value, a.resolved_at, r.name AS rule
FROM alerts a JOIN rules r ON r.id = a.rule_id
"""
"""Reads all alerts."""

_EVENTS: Final = "SELECT id FROM outbox WHERE type LIKE 'alert.%'"
_SETTLE_S: Final = 90.0
_HEADS: Final = (
    *("case", "victim", "published", "stored", "lost", "twice", "stored again (s)", "alerts due"),
    *("of silence", "of sites", "of moved boxes", "not fired", "fired without cause", "not delivered"),
    *("under two ids", "delivered twice", "HTTP failed"),
)
_FAILED: Final = "failed"


@dataclass(frozen=True, slots=True)
class AlertCounts:
    """The alerts of a case.

    Attributes:
        due: Alerts that had to fire.
        silent, sites, moved: Of these, those of boxes that stopped, of whole sites, and of moved boxes.
        unfired: Those that did not fire.
        spurious: Alerts that fired and were not due, or had another value or end.
        undelivered: Beginnings and ends whose webhook did not arrive.
        two_ids: Beginnings and ends whose webhooks came under more than one id.
    """

    due: int = 0
    silent: int = 0
    sites: int = 0
    moved: int = 0
    unfired: int = 0
    spurious: int = 0
    undelivered: int = 0
    two_ids: int = 0


@dataclass(frozen=True, slots=True)
class CaseResult:
    """The outcome of one case.

    Attributes:
        name: The case.
        victim: What failed.
        published: Samples made in the case.
        stored: Of these, how many are stored.
        twice: Rows beyond one for each sample.
        gap_s: Seconds until each box had an `ack` message for a sample made after the fault; None: not
            within the time of the case.
        alerts: The comparison of the alerts.
        delivered_twice: Webhooks that arrived more than once.
        http: Failed and all HTTP reads through haproxy.
        failure: Why the case did not come to its end; empty: it did.
    """

    name: str
    victim: str = ""
    published: int = 0
    stored: int = 0
    twice: int = 0
    gap_s: float | None = None
    alerts: AlertCounts = AlertCounts()
    delivered_twice: int = 0
    http: tuple[int, int] = (0, 0)
    failure: str = ""

    @property
    def lost(self) -> int:
        """Samples that are not stored."""
        return self.published - self.stored

    @property
    def is_good(self) -> bool:
        """Whether all works again, and nothing was lost, stored twice, or wrong in the alerts.

        A webhook may come twice.
        """
        alerts = self.alerts
        wrong = alerts.unfired or alerts.spurious or alerts.undelivered or alerts.two_ids
        return not (self.failure or self.lost or self.twice or wrong or self.gap_s is None)

    def format_row(self) -> str:
        """Format a row of the table."""
        if self.failure:
            cells: list[object] = [f"`{self.name}`", self.victim, f"{_FAILED}: {self.failure}"]
            return f"| {' | '.join(map(str, [*cells, *[''] * (len(_HEADS) - len(cells))]))} |"
        gap = "never" if self.gap_s is None else f"{self.gap_s:.1f}"
        failed, calls = self.http
        alerts = self.alerts
        cells = [
            *(f"`{self.name}`", self.victim, f"{self.published:,}", f"{self.stored:,}", self.lost),
            *(self.twice, gap, alerts.due, alerts.silent, alerts.sites, alerts.moved, alerts.unfired),
            *(
                alerts.spurious,
                alerts.undelivered,
                alerts.two_ids,
                self.delivered_twice,
                f"{failed} of {calls}",
            ),
        ]
        return f"| {' | '.join(map(str, cells))} |"


@dataclass
class CaseMarks:
    """Where the ledgers stood when a case began.

    Attributes:
        sent: Samples by box.
        twice: Webhooks received more than once.
    """

    sent: Mapping[str, int]
    twice: int


def mark(load: BoxLoad, webhooks: WebhookLedger) -> CaseMarks:
    """Note where the ledgers stand."""
    return CaseMarks({each.box: each.sent for each in load.ledgers}, webhooks.twice)


async def wait_until_settled(cluster: CityCluster, load: BoxLoad, webhooks: WebhookLedger) -> None:
    """Wait until all samples are acknowledged and all events delivered, or for 90 s."""
    with suppress(TimeoutError):
        async with asyncio.timeout(_SETTLE_S):
            while True:
                if not load.pending and await _are_events_delivered(cluster, webhooks):
                    return
                await asyncio.sleep(0.5)


async def _are_events_delivered(cluster: CityCluster, webhooks: WebhookLedger) -> bool:
    with suppress(OSError, *DATABASE_ERRORS):
        events = {f"msg_{row['id'].hex}" for row in await cluster.read_rows(_EVENTS)}
        return events <= webhooks.handled.keys()
    return False


async def count_stored(cluster: CityCluster, marks: CaseMarks) -> tuple[int, int]:
    """Return how many samples of a case are stored, and how many rows they have beyond one each."""
    boxes, firsts = list(marks.sent), list(marks.sent.values())
    rows = await cluster.read_rows(_STORED, boxes, firsts)
    return sum(row["numbers"] for row in rows), sum(row["rows"] - row["numbers"] for row in rows)


def make_fired_alert(row: asyncpg.Record) -> FiredAlert:
    """Make an alert of a row of ALERTS."""
    return FiredAlert(
        id=str(row["id"]),
        rule=row["rule"],
        box=row["box"],
        site=str(row["site_id"]),
        started_ms=_to_ms(row["started_at"]),
        value=row["value"],
        resolved_ms=None if row["resolved_at"] is None else _to_ms(row["resolved_at"]),
    )


def _to_ms(instant: datetime) -> int:
    return from_datetime(instant) // US_PER_MS


async def compare_alerts(
    cluster: CityCluster, comparison: AlertComparison, webhooks: WebhookLedger, mobile: set[str]
) -> tuple[AlertCounts, list[DueAlert | FiredAlert]]:
    """Compare the alerts of a case with the ledgers; returns also those that are wrong."""
    verdict = comparison.compare(map(make_fired_alert, await cluster.read_rows(ALERTS)))
    delivered = webhooks.of_alerts
    changes = [
        (alert.id, kind)
        for alert in verdict.fired
        for kind in ("alert.firing", "alert.resolved")
        if kind == "alert.firing" or alert.resolved_ms is not None
    ]
    counts = AlertCounts(
        due=len(verdict.due),
        silent=sum(alert.rule == STOP_RULE for alert in verdict.due),
        sites=sum(alert.rule == SITE_RULE for alert in verdict.due),
        moved=sum(alert.box in mobile for alert in verdict.due),
        unfired=len(verdict.unfired),
        spurious=len(verdict.spurious),
        undelivered=sum(change not in delivered for change in changes),
        two_ids=sum(len(delivered.get(change, ())) > 1 for change in changes),
    )
    return counts, [*verdict.unfired, *verdict.spurious]


def write_table(path: Path, results: Sequence[CaseResult]) -> None:
    """Write the results as a Markdown table."""
    lines = [f"| {' | '.join(_HEADS)} |", f"|{'---|' * len(_HEADS)}"]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join([*lines, *(each.format_row() for each in results), ""]), encoding="utf-8")
