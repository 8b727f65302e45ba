import json
import sys

from app.catalogue.metrics import COLUMNS
from app.timeseries.series.latest_value_queries import BoxLatestValues


def sample(time_us: int, value: float) -> tuple[float | None, ...]:
    return (1, time_us, *(value if name == "co2" else None for name in COLUMNS))


def co2(values: BoxLatestValues) -> float:
    return float(json.loads(bytes(values.to_json()))["values"]["co2"])


def test_the_cache_of_formatted_values_knows_samples_apart_and_keeps_none() -> None:
    row = '{"co2": [600.0, 1000000]}'
    first, second = (sample(2_000_000, 610.0),), (sample(2_000_000, 620.0),)
    before = sys.getrefcount(first), sys.getrefcount(first[0])
    assert co2(BoxLatestValues("cached-1", row)) == 600.0
    assert co2(BoxLatestValues("cached-1", row, first)) == 610.0
    assert co2(BoxLatestValues("cached-1", row, second)) == 620.0
    again = BoxLatestValues("cached-1", row, (sample(2_000_000, 610.0),)).to_json()
    assert again is BoxLatestValues("cached-1", row, first).to_json()
    assert (sys.getrefcount(first), sys.getrefcount(first[0])) == before
