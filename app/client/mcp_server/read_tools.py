"""Reads the API for the tools of the MCP server. All of it is `GET`."""

from collections.abc import Sequence
from itertools import islice
from typing import Any, Final, Protocol
from urllib.parse import quote, urlencode
from uuid import UUID

from app.client.api_connection import Parameters
from app.client.client_errors import ApiError
from app.client.mcp_server.bounded_answers import make_answer, pick

MOST_ENTRIES: Final = 200
MOST_POINTS: Final = 500
FLAGS: Final = "out_of_range,spike,flat_line,warm_up,late"
_INVALID: Final = 422
# A grant may not include the values that flags depend on.
_QUALITY_NOT_GRANTED: Final = "quality_not_granted"
_NO_FLAGS: Final = "The key is that of a grant: which values are doubtful is not shown."
_GRANT: Final = "id organisation recipient state content readable"
_SITE: Final = "id name kind timezone address location attributes"
_BOX: Final = (
    "id name site_id kind tags location interval_s state activity last_sample_at last_heard_at firmware"
)
_ALERT: Final = (
    "id state severity sentence site_id site_name box metric value unit threshold started_at resolved_at "
    "acknowledged_at assignee dry_run link"
)
_INCIDENT: Final = (
    "id state occurred_at site_id evidence verified geometry classes probability gunshot_probability "
    "rounds boxes outcome note"
)
_INDEX: Final = "box method version title metric period value unit coverage band limit exceeded reason notes"


class ApiReader(Protocol):
    """The reading part of a connection: tools get no more."""

    def get(self, path: str, parameters: Parameters = ()) -> Any:  # noqa: ANN401 (JSON)
        """Read a resource."""


def read_sites(api: ApiReader, *, q: str | None, limit: int) -> dict[str, Any]:
    """List sites."""
    return _list(api, "/v1/sites", {"q": q}, _SITE, limit)


def read_boxes(api: ApiReader, *, site_id: UUID | None, q: str | None, limit: int) -> dict[str, Any]:
    """List boxes with their state."""
    return _list(api, "/v1/boxes", {"site": site_id, "q": q}, _BOX, limit)


def read_grant(api: ApiReader) -> dict[str, Any]:
    """Read what the key of a grant opens."""
    path = "/v1/grant"
    notes = ["`readable` has, by site, the metrics that can be read now. Other calls are refused."]
    return make_answer([pick(api.get(path), _GRANT)], source=_describe(path), notes=notes)


def read_alerts(
    api: ApiReader, *, state: str | None, site_id: UUID | None, severity: str | None, limit: int
) -> dict[str, Any]:
    """List alerts, the newest first."""
    given = {"state": state, "site": site_id, "severity": severity}
    return _list(api, "/v1/alerts", given, _ALERT, limit)


def read_incidents(api: ApiReader, *, state: str | None, site_id: UUID | None, limit: int) -> dict[str, Any]:
    """List sound incidents, the newest first."""
    notes = [
        "Sources are computed from sounds and may be wrong: `probability` and `evidence` tell how likely.",
        "A person reviewed only those that are `confirmed` or `dismissed`.",
    ]
    return _list(api, "/v1/incidents", {"state": state, "site": site_id}, _INCIDENT, limit, notes=notes)


def read_latest(api: ApiReader, *, box: str | None, site_id: UUID | None, limit: int) -> dict[str, Any]:
    """Read the latest values of a box, or of the boxes of a site."""
    notes = [
        "`time` is that of the newest value; `times` has that of each metric.",
        "Compare `time` with now: a box may be silent.",
    ]
    if box is not None:
        path = f"/v1/boxes/{quote(box, safe='')}/latest"
        return make_answer([api.get(path)], source=_describe(path), notes=notes)
    return _list(api, f"/v1/sites/{site_id}/latest", {}, "box time values times", limit, notes=notes)


def read_indices(
    api: ApiReader, *, site_id: UUID, methods: Sequence[str], boxes: Sequence[str]
) -> dict[str, Any]:
    """Read current indices of a site; each has its coverage."""
    path = f"/v1/sites/{site_id}/indices"
    parameters = [*(("method", each) for each in methods), *(("box", each) for each in boxes)]
    found = api.get(path, parameters)
    notes = ("`coverage` is the measured share in percent. A value without it is null, with a `reason`.",)
    return make_answer(
        [pick(each, _INDEX) for each in found["data"]],
        source=_describe(path, parameters),
        notes=notes,
        about=pick(found, "at timezone country worst"),
    )


def read_register(api: ApiReader, *, q: str | None) -> dict[str, Any]:
    """Read the public register: measurements, their places, controllers and purposes."""
    parameters = _list_parameters({"q": q})
    found = api.get("/public/register.json", parameters)
    about = {name: value for name, value in found.items() if not isinstance(value, list | dict)}
    return make_answer(
        found["sites"], source=_describe("/public/register.json", parameters), about={"register": about}
    )


def read_series(
    api: ApiReader, *, box: str, metric: str, begin: str | None, end: str | None, bucket: str | None
) -> dict[str, Any]:
    """Read a series: raw values with flags, or buckets with coverage and the number of flagged values."""
    path = f"/v1/boxes/{quote(box, safe='')}/readings"
    parameters = _list_parameters({"metric": metric, "from": begin, "to": end, "bucket": bucket})
    limited = [*parameters, ("limit", str(MOST_POINTS))]
    notes = []
    if bucket is None:
        found, note = _read_raw(api, path, limited)
        notes.append(note)
    else:
        found = api.get(path, limited)
        notes.append(
            "`coverage` is the share of the expected samples, in percent. Empty buckets are left out."
        )
        notes.append(_count_flagged(api, path, limited, found["points"]))
    if metric.startswith("la") or metric == "lcpeak":
        notes.append("Decibels are averaged by energy. Do not average them arithmetically.")
    return make_answer(
        found["points"],
        source=_describe(path, parameters),
        notes=notes,
        about=pick(found, "box metric unit bucket timezone flags_version"),
        has_more=found["next"] is not None,
        advice="Ask for a shorter time, or for wider buckets.",
    )


def _read_raw(api: ApiReader, path: str, parameters: Parameters) -> tuple[Any, str]:
    """Read raw values with their flags, and return the note on these."""
    try:
        found = api.get(path, [*parameters, ("flags", "true")])
    except ApiError as error:
        if error.code != _QUALITY_NOT_GRANTED:
            raise
        return api.get(path, parameters), _NO_FLAGS
    return found, "`flags` marks doubtful values; an empty list: none."


def _count_flagged(api: ApiReader, path: str, parameters: Parameters, points: list[dict[str, Any]]) -> str:
    """Add the number of flagged values to each bucket, and return the note on it."""
    try:
        sound = api.get(path, [*parameters, ("exclude", FLAGS)])["points"]
    except ApiError as error:
        if error.code == _QUALITY_NOT_GRANTED:
            return _NO_FLAGS
        if error.status != _INVALID:
            raise
        return f"The number of flagged values is unknown ({error.code}): ask for a shorter time."
    counts = {point["time"]: point["count"] for point in sound}
    for point in points:
        point["flagged"] = max(0, point["count"] - counts.get(point["time"], 0))
    return f"`flagged` counts values with one of the flags {FLAGS}. The aggregates include them."


def _list(
    api: ApiReader,
    path: str,
    given: dict[str, Any],
    names: str,
    limit: int,
    *,
    notes: Sequence[str] = (),
) -> dict[str, Any]:
    parameters = _list_parameters(given)
    page = api.get(path, [*parameters, ("limit", str(limit))])
    entries = [pick(each, names) for each in islice(page["data"], limit)]
    return make_answer(
        entries, source=_describe(path, parameters), notes=notes, has_more=page["next"] is not None
    )


def _list_parameters(given: dict[str, Any]) -> list[tuple[str, str]]:
    return [(name, str(value)) for name, value in given.items() if value is not None]


def _describe(path: str, parameters: Parameters = ()) -> str:
    return f"GET {path}?{urlencode(parameters)}" if parameters else f"GET {path}"
