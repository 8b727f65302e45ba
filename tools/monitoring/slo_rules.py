"""Makes the recording and alerting rules of the service-level objectives: `deploy/prometheus/vigie-slo.yml`.

Each objective has its share of errors recorded over seven windows, and one alert with two severities. Both
use X
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

WINDOWS: Final = ("5m", "30m", "1h", "2h", "6h", "1d", "3d")
"""The windows over which errors are recorded."""


class BurnAlert(NamedTuple):
    """The condition of an alert: the error budget of 30 days burns `factor` times too fast in both windows.

    Attributes:
        severity: `critical` pages a person, `warning` opens a ticket.
        windows: pairs of a long and a short window, each with its factor.
        wait: how long the condition holds before.
    """

    severity: str
    windows: Sequence[tuple[str, str, float]]
    wait: str


BURN_ALERTS: Final = (
    # 2 % of the budget in an hour, or 5 % in six hours.
    BurnAlert("critical", (("1h", "5m", 14.4), ("6h", "30m", 6)), "2m"),
    # 10 % of the budget in a day, or in three days.
    BurnAlert("warning", (("1d", "2h", 3), ("3d", "6h", 1)), "15m"),
)


class ServiceLevelObjective(NamedTuple):
    """A service-level objective.

    Attributes:
        key: its name in recorded series.
        alert: the name of its alert.
        goal: the share that must be good, in 30 days.
        title: what is good, for people.
        reason: why it is this goal.
        errors: PromQL of the share that is not good; `%s` is the window.
    """

    key: str
    alert: str
    goal: float
    title: str
    reason: str
    errors: str

    @property
    def budget(self) -> float:
        """The share that may be bad."""
        return round(1 - self.goal, 6)


OBJECTIVES: Final = (
    ServiceLevelObjective(
        "ingest",
        "VigieIngestBudgetBurns",
        0.999,
        "Messages and HTTP calls are committed within 5 s of their arrival",
        "An alert is as late as its message. 5 s covers a restart of a database connection; a takeover by a "
        "standby takes about as long.",
        "sum(rate(vigie_ingest_slow_messages_total[%s])) "
        "/ sum(rate(vigie_ingest_committed_messages_total[%s]))",
    ),
    ServiceLevelObjective(
        "api_availability",
        "VigieApiAvailabilityBudgetBurns",
        0.999,
        "Requests are answered without a status of 500 or more",
        "43 minutes a month: a city's systems poll and retry. Refusals (4xx) are answers.",
        '(sum(rate(vigie_http_requests_total{status=~"5.."}[%s])) or vector(0)) '
        "/ sum(rate(vigie_http_requests_total[%s]))",
    ),
    ServiceLevelObjective(
        "api_latency",
        "VigieApiLatencyBudgetBurns",
        0.99,
        "Responses begin within 1 s",
        "People notice a second. Long ranges, reports and exports may take longer: hence one in a hundred.",
        '1 - sum(rate(vigie_http_request_seconds_bucket{le=~"1|1.0"}[%s])) '
        "/ sum(rate(vigie_http_request_seconds_count[%s]))",
    ),
    ServiceLevelObjective(
        "delivery",
        "VigieDeliveryBudgetBurns",
        0.99,
        "Deliveries are first attempted within 5 s of their event",
        "This is Vigie's part: whether the receiver answers is another matter. Endpoints with a rate limit "
        "or an open circuit breaker wait longer on purpose.",
        '1 - sum(rate(vigie_delivery_delay_seconds_bucket{le=~"5|5.0"}[%s])) '
        "/ sum(rate(vigie_delivery_delay_seconds_count[%s]))",
    ),
)
"""The objectives. Their reasons are in docs/operations/monitoring.md too."""


def name_series(objective: ServiceLevelObjective, window: str) -> str:
    """Return the name of the recorded share of errors over a window."""
    return f"vigie:{objective.key}_errors:ratio_rate{window}"


def render_slo_rules() -> dict[str, Any]:
    """Return the rules, as Prometheus' YAML has them."""
    return {
        "groups": [
            {"name": "vigie-slo-records", "interval": "1m", "rules": list(_record())},
            {"name": "vigie-red", "interval": "1m", "rules": list(_record_red())},
            {"name": "vigie-slo-alerts", "rules": list(_alert())},
        ]
    }


def _record() -> Iterator[Mapping[str, Any]]:
    for objective in OBJECTIVES:
        yield {"record": f"vigie:{objective.key}_errors:budget", "expr": f"vector({objective.budget:g})"}
        for window in WINDOWS:
            yield {
                "record": name_series(objective, window),
                "expr": objective.errors.replace("%s", window),
            }


def _record_red() -> Iterator[Mapping[str, Any]]:
    """Record rate, errors and duration of the API by route, which dashboards read for long ranges."""
    requests = "sum by (method, route) (rate(vigie_http_requests_total%s[5m]))"
    yield {"record": "vigie:http_requests:rate5m", "expr": requests % ""}
    yield {
        "record": "vigie:http_errors:ratio_rate5m",
        "expr": f"{requests % '{status=~"5.."}'} / {requests % ''}",
    }
    for quantile in ("0.5", "0.99"):
        yield {
            "record": f"vigie:http_request_seconds:p{quantile[2:].ljust(2, '0')}_5m",
            "expr": f"histogram_quantile({quantile}, "
            "sum by (method, route, le) (rate(vigie_http_request_seconds_bucket[5m])))",
        }


def _alert() -> Iterator[Mapping[str, Any]]:
    for objective in OBJECTIVES:
        for burn in BURN_ALERTS:
            conditions = (
                f"({name_series(objective, long)} > {factor:g} * {objective.budget:g} "
                f"and {name_series(objective, short)} > {factor:g} * {objective.budget:g})"
                for long, short, factor in burn.windows
            )
            yield {
                "alert": objective.alert,
                "expr": " or ".join(conditions),
                "for": burn.wait,
                "labels": {"severity": burn.severity, "slo": objective.key},
                "annotations": {
                    "runbook_url": "{{ $externalLabels.vigie_docs }}/runbooks/" + objective.alert,
                    "summary": f"An objective is at risk: {objective.title[0].lower()}{objective.title[1:]}",
                    "description": f"{{{{ $value | humanizePercentage }}}} are not; the objective allows "
                    f"{objective.budget:.1%} in 30 days.",
                },
            }
