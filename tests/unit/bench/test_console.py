"""The figures of the console as the report has them."""

from bench.console import HEAD, PAGES_HEAD, ConsoleResults, FirstLoad, PageTimes
from bench.console_city import CitySize, year_boxes
from bench.sections import console_section

_FOUND = ConsoleResults(
    CitySize(),
    "149.0",
    pages=[PageTimes("/console", [*map(float, range(1, 101))], 12_340)],
    loads=[FirstLoad(14, 209_600, 239_000, 410.0, 980.0), FirstLoad(14, 209_400, 239_000, 390.0, 1_020.0)],
    frames_ms=[16.7] * 99 + [120.0],
    alerts_ms=[240.0, 310.0],
    draws_ms={1: [12.0], 10: [60.0]},
    internal_us=900.0,
    http_us=(700.0, 300.0),
)


def test_each_figure_stands_beside_its_aim() -> None:
    text = console_section(_FOUND)
    assert "| `/console` | 12.3 kB | 50 | **95** | 100 | 300 |" in text
    assert "| first load, 14 files | 209 kB | 210 kB | 210 kB | 300 kB |" in text
    assert "| frames of the map (100) | 16.7 ms | 16.7 ms | 120.0 ms | - |" in text
    assert "| a year of hourly values drawn, 1 series | 12.0 ms | 12.0 ms | 12.0 ms | 200 ms |" in text
    assert "10,000 boxes at 200 sites, 500 firing alerts" in " ".join(text.split())
    assert "takes 900 µs of CPU. By HTTP it takes 700 µs at the API and 300 µs at the client" in " ".join(
        text.split()
    )


def test_rows_are_as_wide_as_their_heads() -> None:
    assert {len(row) for row in _FOUND.rows()} == {len(HEAD)}
    assert {len(page.row()) for page in _FOUND.pages} == {len(PAGES_HEAD)}


def test_boxes_with_a_year_are_of_the_first_site() -> None:
    assert year_boxes(CitySize())[:2] == ["bench-00000", "bench-00200"]
    assert len(year_boxes(CitySize())) == 10
