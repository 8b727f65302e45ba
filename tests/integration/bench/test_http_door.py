"""The benchmark of ingest by HTTP, with few calls: each is answered, and all is stored."""

import pytest

from bench.http_door import HttpCase, measure
from bench.stack import stack

pytestmark = pytest.mark.usefixtures("shared_services")


@pytest.mark.timeout(300)
async def test_every_case_is_measured() -> None:
    cases = [HttpCase(1, 1, 5), HttpCase(10, 8, 40)]
    async with stack() as running:
        found = await measure(running, cases)
    assert [rate.case for rate in found] == cases
    for rate in found:
        assert 0 < rate.p50_ms <= rate.p99_ms
        assert rate.calls_per_s > 0
        assert set(rate.cpu) >= {"api", "postgres", "callers"}
