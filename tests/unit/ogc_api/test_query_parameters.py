"""What query parameters mean."""

import pytest

from app.ogc_api.query_parameters import (
    MOST_FEATURES,
    BoundingBox,
    TimeSpan,
    check_crs,
    parse_bbox,
    parse_datetime,
    parse_format,
    parse_limit,
    parse_parameter_names,
)
from app.platform.kernel.instants import EARLIEST_US, LATEST_US, parse_rfc3339
from app.standard_apis.query_error import QueryError

_BEGIN, _END = "2026-01-01T00:00:00Z", "2026-01-02T00:00:00+01:00"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (None, (EARLIEST_US, LATEST_US - 1)),
        (_BEGIN, (parse_rfc3339(_BEGIN), parse_rfc3339(_BEGIN))),
        (f"{_BEGIN}/{_END}", (parse_rfc3339(_BEGIN), parse_rfc3339(_END))),
        (f"{_BEGIN}/..", (parse_rfc3339(_BEGIN), LATEST_US - 1)),
        (f"/{_END}", (EARLIEST_US, parse_rfc3339(_END))),
        ("1900-01-01T00:00:00Z/..", (EARLIEST_US, LATEST_US - 1)),
    ],
)
def test_times(text: str | None, expected: tuple[int, int]) -> None:
    assert parse_datetime(text) == TimeSpan(*expected)


@pytest.mark.parametrize(
    "text", ["", "..", "/", "../..", "2026-01-01", f"{_END}/{_BEGIN}", f"{_BEGIN}/{_END}/"]
)
def test_times_that_are_refused(text: str) -> None:
    with pytest.raises(QueryError) as caught:
        parse_datetime(text)
    assert (caught.value.status, caught.value.extra) == (400, {"option": "datetime"})


def test_rectangles() -> None:
    assert parse_bbox(None) is None
    assert parse_bbox("-1.5, 40,.5,41e0") == BoundingBox(-1.5, 40, 0.5, 41)
    assert parse_bbox("1,2,-9999,3,4,9999") == BoundingBox(1, 2, 3, 4)
    assert parse_bbox("170,-90,-170,90") == BoundingBox(170, -90, -170, 90)
    for text in ("", "1,2,3", "1,2,3,4,5", "1,2,3,inf", "1,2,3,1_0", "0,-91,1,0", "0,1,1,0", "0,0,181,1"):
        with pytest.raises(QueryError):
            parse_bbox(text)


def test_limits() -> None:
    assert [parse_limit(text) for text in (None, "1", "1000", "1001")] == [100, 1, 1000, MOST_FEATURES]
    for text in ("", "0", "-1", "1.5", "1e3", "9" * 10, "１"):  # noqa: RUF001 (a digit that is not ASCII)
        with pytest.raises(QueryError):
            parse_limit(text)


def test_names_formats_and_reference_systems() -> None:
    assert parse_parameter_names(None) is None
    assert parse_parameter_names("laeq, pm2_5") == ("pm2_5", "laeq")
    with pytest.raises(QueryError, match="cats"):
        parse_parameter_names("laeq,cats")
    offered = ("CoverageJSON", "CSV")
    assert [parse_format(text, offered) for text in (None, "json", "csv", "COVERAGEJSON")] == [
        *("CoverageJSON", "CoverageJSON", "CSV", "CoverageJSON")
    ]
    with pytest.raises(QueryError, match="CoverageJSON or CSV"):
        parse_format("html", offered)
    check_crs("CRS84")
    check_crs(None)
    with pytest.raises(QueryError, match="CRS84"):
        check_crs("EPSG:4326")
