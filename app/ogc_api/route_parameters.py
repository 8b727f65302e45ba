"""Declares the query parameters of the routes, and parses them as dependencies."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Final

from fastapi import Depends, Path

from app.ogc_api.collection_descriptions import COLLECTIONS, COVERAGE_FORMATS
from app.ogc_api.feature_queries import FeatureQuery
from app.ogc_api.query_parameters import (
    MOST_FEATURES,
    TimeSpan,
    check_crs,
    parse_bbox,
    parse_datetime,
    parse_format,
    parse_limit,
    parse_parameter_names,
)
from app.standard_apis.route_documentation import declare_parameter, document_json

CollectionId = Annotated[
    str, Path(description="A collection", examples=["boxes"], json_schema_extra={"enum": list(COLLECTIONS)})
]
_Datetime = Annotated[
    str | None,
    declare_parameter(
        "datetime",
        "An instant, or an interval whose ends may be open (`..`), both ends included",
        "2026-11-01T00:00:00Z/2026-11-02T00:00:00Z",
    ),
]


async def _check_json(
    f: Annotated[str | None, declare_parameter("f", "`json`, which is the only format", "json")] = None,
) -> None:
    parse_format(f, ("json",))


async def _check_geojson(
    f: Annotated[str | None, declare_parameter("f", "`GeoJSON`, which is the only format", "GeoJSON")] = None,
) -> None:
    parse_format(f, ("GeoJSON",))


JSON_ONLY: Final = Depends(_check_json)
GEOJSON_ONLY: Final = Depends(_check_geojson)


async def _parse_feature_query(
    bbox: Annotated[
        str | None,
        declare_parameter(
            "bbox", "Only in this rectangle: west,south,east,north in degrees", "1.3,43.5,1.5,43.7"
        ),
    ] = None,
    datetime: _Datetime = None,
    limit: Annotated[
        str | None,
        declare_parameter("limit", f"Features of a page: 100 by default, {MOST_FEATURES:,} at most", "20"),
    ] = None,
    after: Annotated[
        str | None, declare_parameter("after", "Part of the link `next`; opaque", "5a1f0c9e7b32")
    ] = None,
) -> FeatureQuery:
    return FeatureQuery(parse_bbox(bbox), parse_datetime(datetime), parse_limit(limit), after)


FeatureQueryDependency = Annotated[FeatureQuery, Depends(_parse_feature_query)]
"""FastAPI dependency: which features."""


@dataclass(frozen=True, slots=True)
class ValuesQuery:
    """Selects values, and the format of the response.

    Attributes:
        metrics: of these metrics; None: all.
        span: of this time range.
        format: `CoverageJSON` or `CSV`.
    """

    metrics: tuple[str, ...] | None
    span: TimeSpan
    format: str


async def _parse_values_query(
    datetime: _Datetime = None,
    parameter_name: Annotated[
        str | None,
        declare_parameter("parameter-name", "Metrics, separated by commas; all by default", "pm2_5,laeq"),
    ] = None,
    crs: Annotated[
        str | None, declare_parameter("crs", "`CRS84`, which is the only reference system", "CRS84")
    ] = None,
    f: Annotated[
        str | None, declare_parameter("f", "`CoverageJSON` (default) or `CSV`", "CoverageJSON")
    ] = None,
) -> ValuesQuery:
    check_crs(crs)
    names = parse_parameter_names(parameter_name)
    return ValuesQuery(names, parse_datetime(datetime), parse_format(f, COVERAGE_FORMATS))


ValuesQueryDependency = Annotated[ValuesQuery, Depends(_parse_values_query)]
"""FastAPI dependency: which values."""


def document_response(
    media_type: str, example: Mapping[str, Any], *problems: int, csv: str | None = None
) -> dict[int | str, dict[str, Any]]:
    """Document a response of JSON, and of CSV if there is an example, with its problems."""
    documented = document_json(example, 400, *problems, media_types=(media_type,))
    if csv is not None:
        documented[200]["content"]["text/csv"] = {"schema": {"type": "string"}, "example": csv}
    return documented
