"""The measurements of the console, on a few boxes."""

import pytest

from bench import console, console_city
from bench.console import ConsolePlan, measure
from bench.console_city import CitySize, ConsoleCity
from bench.sections import CONSOLE, console_section
from bench.stack import stack

pytestmark = pytest.mark.usefixtures("shared_services")

_SIZE = CitySize(sites=3, boxes=60, alerts=4, hours=100)
# The kernel counts CPU time in hundredths of a second: five calls can take none.
_PLAN = ConsolePlan(calls=2, loads=1, alerts=2, internal=30)


async def test_pages_map_alerts_and_charts_are_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    # The figures need a city at rest; the few boxes of this one are.
    monkeypatch.setattr(console_city, "_SETTLE_S", 0.5)
    monkeypatch.setattr(console, "_SETTLE_S", 0.5)
    monkeypatch.setattr(console, "_ALERT_PAUSE_S", (0.1, 0.3))
    monkeypatch.setattr(console, "MAP_S", 2.0)
    async with stack() as running:
        found = await measure(running, size=_SIZE, plan=_PLAN)
    pages = ConsoleCity(_SIZE, "", "", "site", "alert").pages
    assert [page.name for page in found.pages] == list(pages)
    assert all(len(page.took_ms) == 2 and page.size > 0 for page in found.pages)
    (load,) = found.loads
    assert load.files > 8
    assert load.refreshed >= load.size > 20_000
    assert 0 < load.paint_ms < load.map_ms
    assert len(found.frames_ms) > 2
    assert all(0 < each < 20_000 for each in found.alerts_ms)
    assert {series: len(draws) for series, draws in found.draws_ms.items()} == {1: 2, 10: 2}
    assert all(each > 0 for draws in found.draws_ms.values() for each in draws)
    assert found.internal_us > 0
    assert min(found.http_us) > 0
    section = console_section(found, "a day: a machine")
    assert section.startswith(f"## {CONSOLE}\n")
    assert all(section.count(f"| `{name}` |") == 1 for name in pages)
