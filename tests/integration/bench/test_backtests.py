"""The benchmark of back-tests, on a few days instead of a year."""

import pytest

from bench.backtests import RULES, measure
from bench.stack import stack

pytestmark = pytest.mark.usefixtures("shared_services")


async def test_each_rule_is_tried_on_all_samples() -> None:
    async with stack() as running:
        tried = await measure(running, samples=4_000)
    assert [each.name for each in tried] == list(RULES)
    assert {each.samples for each in tried} == {4_000}
    assert all(each.seconds > 0 for each in tried)
