"""The benchmark of neighbours, on little time: each case is watched, and nobody else is refused."""

from bench.neighbour import SEVERAL, Case, measure
from bench.stack import stack


async def test_each_case_is_watched_and_the_neighbour_comes_to_its_limit() -> None:
    async with stack() as running:
        # Little to use up: a busy machine would take its time over thousands of requests.
        few = {"VIGIE_API__RATE_BURST": "100", "VIGIE_API__ORGANISATION_RATE_BURST": "200"}
        found = await measure(running, seconds=1.0, rounds=1, numbers=[SEVERAL], limits=few)
    assert set(found) == {Case(SEVERAL, manner) for manner in ("quiet", "polite", "rude")}
    for case, watched in found.items():
        assert watched.took_ms
        assert min(watched.took_ms) > 0
        assert (watched.passed > 0) is (case.manner != "quiet")
        assert watched.cpu_s["api"] > 0
    assert found[Case(SEVERAL, "quiet")].refused == 0
