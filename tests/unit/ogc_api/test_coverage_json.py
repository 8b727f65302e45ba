"""Coverages and CSV of several boxes with different metrics and times."""

import json

from covjson_pydantic.coverage import CoverageCollection

from app.ogc_api.coverage_json import BoxCoverage, build_coverage_collection, format_csv

_T = 1_767_225_600_000_000
_COVERAGES = [
    BoxCoverage(
        {"number": "00aa", "longitude": 1.5, "latitude": 43.0},
        {"pm2_5": {_T: 1.5, _T + 1_000_000: 2.0}, "laeq": {_T + 500_000: 50.0}},
    ),
    BoxCoverage({"number": "00bb", "longitude": 1.6, "latitude": 43.1}, {"odour": {_T: 7.25}}),
]


def test_metrics_of_a_box_share_its_times() -> None:
    body = build_coverage_collection(_COVERAGES, "https://vigie.example", "https://vigie.example/l")
    CoverageCollection.model_validate_json(json.dumps(body))
    first, second = body["coverages"]
    assert first["id"] == "https://vigie.example/l/00aa"
    assert first["domain"]["axes"]["t"]["values"] == [
        *("2026-01-01T00:00:00Z", "2026-01-01T00:00:00.500Z", "2026-01-01T00:00:01Z")
    ]
    assert first["ranges"]["pm2_5"]["values"] == [1.5, None, 2.0]
    assert first["ranges"]["laeq"]["values"] == [None, 50.0, None]
    assert first["ranges"]["laeq"]["shape"] == [3]
    assert list(second["ranges"]) == ["odour"]
    assert list(body["parameters"]) == ["pm2_5", "laeq", "odour"]
    # No vocabulary defines it.
    assert body["parameters"]["odour"]["observedProperty"]["id"].startswith("https://vigie.example/docs/")


def test_csv_has_a_column_for_each_metric() -> None:
    assert format_csv(_COVERAGES).split("\r\n") == [
        "location,longitude,latitude,time,pm2_5,laeq,odour",
        "00aa,1.5,43,2026-01-01T00:00:00Z,1.5,,",
        "00aa,1.5,43,2026-01-01T00:00:00.500Z,,50,",
        "00aa,1.5,43,2026-01-01T00:00:01Z,2,,",
        "00bb,1.6,43.1,2026-01-01T00:00:00Z,,,7.25",
        "",
    ]
    assert format_csv([]) == "location,longitude,latitude,time\r\n"
