"""Compares the ledger of a drill's case with the database and the received webhooks, and writes the table."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tools.clusters.box_load import BoxLoad, is_alarm
from tools.clusters.city_cluster import CityCluster
from tools.rehearsals.webhook_ledger import WebhookLedger

_STORED: Final = """
SELECT b.id AS box, count(*) AS rows, count(DISTINCT s.seq) AS numbers
FROM samples s JOIN boxes b ON b.key = s.box_key
JOIN unnest($1::text[], $2::bigint[]) AS first (box, seq) ON first.box = b.id AND s.seq >= first.seq
GROUP BY b.id
"""
_ALERTS: Final = """
SELECT a.box, s.seq, o.id AS event, r.name AS rule
FROM alerts a JOIN rules r ON r.id = a.rule_id LEFT JOIN boxes b ON b.id = a.box
LEFT JOIN samples s ON s.box_key = b.key AND s.time = a.started_at
LEFT JOIN outbox o ON o.type = 'alert.firing' AND o.payload->>'alert_id' = a.id::text
"""
_HEADS: Final = (
    *("case", "victim", "published", "stored", "lost", "twice", "acknowledged again (s)", "alerts due"),
    *("not fired", "fired without cause", "not told", "told twice", "HTTP failed"),
)


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
        due: Alerts that had to fire.
        unfired: Of these, those that did not.
        spurious: Alerts that fired and were not due.
        untold: Webhooks of alerts that did not arrive.
        told_twice: Webhooks that arrived more than once.
        http: Failed and all HTTP reads through haproxy.
    """

    name: str
    victim: str
    published: int
    stored: int
    twice: int
    gap_s: float | None
    due: int
    unfired: int
    spurious: int
    untold: int
    told_twice: int
    http: tuple[int, int]

    @property
    def lost(self) -> int:
        """Samples that are not stored."""
        return self.published - self.stored

    @property
    def is_good(self) -> bool:
        """Whether nothing was lost, stored twice, or wrong in the alerts. A webhook may come twice."""
        return not (self.lost or self.twice or self.unfired or self.spurious or self.untold)

    def format_row(self) -> str:
        """Format a row of the table."""
        gap = "never" if self.gap_s is None else f"{self.gap_s:.1f}"
        failed, calls = self.http
        cells = [
            *(f"`{self.name}`", self.victim, f"{self.published:,}", f"{self.stored:,}", self.lost),
            *(self.twice, gap, self.due, self.unfired, self.spurious, self.untold, self.told_twice),
            f"{failed} of {calls}",
        ]
        return f"| {' | '.join(map(str, cells))} |"


@dataclass
class CaseMarks:
    """Where the ledgers stood when a case began.

    Attributes:
        sent: Samples by box.
        handled: Webhooks received more than once.
        alerts: Ids of events that had fired.
    """

    sent: Mapping[str, int]
    twice: int
    alerts: int


def mark(load: BoxLoad, webhooks: WebhookLedger, alerts: int) -> CaseMarks:
    """Note where the ledgers stand."""
    return CaseMarks({each.box: each.sent for each in load.ledgers}, webhooks.twice, alerts)


async def count_stored(cluster: CityCluster, marks: CaseMarks) -> tuple[int, int]:
    """Return how many samples of a case are stored, and how many rows they have beyond one each."""
    boxes, firsts = list(marks.sent), list(marks.sent.values())
    rows = await cluster.read_rows(_STORED, boxes, firsts)
    return sum(row["numbers"] for row in rows), sum(row["rows"] - row["numbers"] for row in rows)


@dataclass(frozen=True, slots=True)
class AlertCounts:
    """The alerts of a case: due, not fired, fired without cause, not told."""

    due: int
    unfired: int
    spurious: int
    untold: int


async def count_alerts(
    cluster: CityCluster, load: BoxLoad, webhooks: WebhookLedger, marks: CaseMarks, rule: str
) -> AlertCounts:
    """Compare the alerts of a case with the ledger. Alerts of other rules than `rule` have no cause."""
    due = {
        (each.box, seq)
        for each in load.ledgers
        for seq in range(marks.sent[each.box], each.sent)
        if is_alarm(each.index, seq)
    }
    rows = await cluster.read_rows(_ALERTS)
    own = [
        (row["box"], row["seq"])
        for row in rows
        if row["rule"] == rule and (row["seq"] is None or row["seq"] >= marks.sent.get(row["box"], 0))
    ]
    told = {
        (row["box"], row["seq"])
        for row in rows
        if row["event"] is not None and f"msg_{row['event'].hex}" in webhooks.handled
    }
    others = sum(row["rule"] != rule for row in rows) - marks.alerts
    fired = set(own)
    return AlertCounts(
        len(due), len(due - fired), len(own) - len(due & fired) + others, len((due & fired) - told)
    )


async def count_other_alerts(cluster: CityCluster, rule: str) -> int:
    """Return how many alerts of other rules there are."""
    return sum(row["rule"] != rule for row in await cluster.read_rows(_ALERTS))


def write_table(path: Path, results: Sequence[CaseResult]) -> None:
    """Write the results as a Markdown table."""
    lines = [f"| {' | '.join(_HEADS)} |", f"|{'---|' * len(_HEADS)}"]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join([*lines, *(each.format_row() for each in results), ""]), encoding="utf-8")
