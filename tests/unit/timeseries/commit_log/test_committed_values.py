"""Clients choose the metrics and, by what they send, the weeks of the statements that are cached."""

from app.catalogue.metrics import COLUMNS
from app.timeseries.commit_log.committed_values import _samples_sql

_WEEK_US = 7 * 86_400 * 1_000_000


def test_few_statements_stay_in_memory() -> None:
    for week in range(1_000):
        _samples_sql(COLUMNS[:1], week * _WEEK_US, (week + 1) * _WEEK_US)
    assert _samples_sql.cache_info().currsize <= 256
