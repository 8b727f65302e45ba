"""Declares the Prometheus metrics of back-tests."""

from app.platform.observability.metric_types import Counter, Gauge

BACKTESTS_WAITING = Gauge("vigie_backtests_waiting", "Queued back-tests", multiprocess_mode="mostrecent")
BACKTESTS_RUNNING = Gauge("vigie_backtests_running", "Back-tests under way", multiprocess_mode="mostrecent")
BACKTESTS_OLDEST = Gauge(
    "vigie_backtests_oldest_waiting_seconds",
    "Age of the oldest queued back-test, 0 where there is none",
    multiprocess_mode="mostrecent",
)
BACKTESTS_FINISHED = Counter("vigie_backtests_finished_total", "Back-tests finished, by state", ["state"])
