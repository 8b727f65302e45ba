"""Lists what `vigie get` can read: calls of the API, and the columns of tables.

Pure.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

type RowShape = Literal["entries", "values", "points", "series"]
"""How a response becomes rows: entries as they are, or one row for each value or point in them."""


@dataclass(frozen=True, slots=True)
class Resource:
    """A resource of the API.

    Attributes:
        path: The call that lists it; `{id}` is the ID of the command.
        columns: Columns of tables and CSV; a dot leads into an object. Points add their own.
        entry: The call that reads one of them; empty: none.
        shape: How rows are made of an answer.
        id_of: What the ID of `path` names; empty: it needs none.
        page_limit: The most entries or points of a page; 0: the call has no pages.
    """

    path: str
    columns: tuple[str, ...]
    entry: str = ""
    shape: RowShape = "entries"
    id_of: str = ""
    page_limit: int = 1_000


def _make_listed(path: str, columns: str, *, page_limit: int = 1_000) -> Resource:
    return Resource(path, tuple(columns.split()), f"{path}/{{id}}", page_limit=page_limit)


_READING: Final = ("box", "metric", "unit")
_VALUE: Final = ("box", "time", "metric", "value")
_INDICES: Final = "box method metric value unit band.label coverage period.start period.end reason"

RESOURCES: Final[dict[str, Resource]] = {
    "alerts": _make_listed(
        "/v1/alerts", "id state severity started_at site_name box metric value unit rule_name"
    ),
    "api-keys": _make_listed("/v1/api-keys", "id name scopes last_used_at expires_at"),
    "audit": _make_listed("/v1/audit", "position at action subject.kind subject.id actor.kind actor.name"),
    "boxes": _make_listed("/v1/boxes", "id name site_id kind state activity last_sample_at battery firmware"),
    "channels": _make_listed("/v1/channels", "id kind description events enabled"),
    "deliveries": _make_listed("/v1/deliveries", "id type endpoint_kind endpoint_id state created_at"),
    "events": Resource("/v1/events", ("id", "time", "box", "type")),
    "incidents": _make_listed("/v1/incidents", "id state occurred_at site_id evidence rounds boxes"),
    "indices": Resource("/v1/sites/{id}/indices", tuple(_INDICES.split()), id_of="a site", page_limit=0),
    "inhibitions": _make_listed("/v1/inhibitions", "id name created_at"),
    "latest": Resource("/v1/boxes/{id}/latest", _VALUE, shape="values", id_of="a box", page_limit=0),
    "members": _make_listed("/v1/members", "id name email role last_sign_in_at"),
    "methods": Resource("/v1/indices", ("name", "version", "unit", "period", "title"), page_limit=0),
    "metrics": Resource("/v1/metrics", ("name", "unit", "description"), page_limit=0),
    "organisations": _make_listed("/v1/organisations", "id name kind created_at"),
    "presets": _make_listed("/v1/rule-presets", "id version title", page_limit=0),
    "purposes": Resource("/v1/sites/{id}/purposes", ("purpose", "state"), id_of="a site", page_limit=0),
    "quarantine": _make_listed("/v1/quarantine", "id received_at box door code detail"),
    "readings": Resource(
        "/v1/boxes/{id}/readings", _READING, shape="points", id_of="a box", page_limit=10_000
    ),
    "rules": _make_listed("/v1/rules", "id name severity enabled dry_run site_id sentence"),
    "series": Resource("/v1/readings", _READING, shape="series", page_limit=10_000),
    "silences": _make_listed("/v1/silences", "id state starts_at ends_at author comment"),
    "site-latest": Resource("/v1/sites/{id}/latest", _VALUE, shape="values", id_of="a site"),
    "sites": _make_listed("/v1/sites", "id name kind timezone address"),
    "webhooks": _make_listed("/v1/webhooks", "id url events enabled"),
}


def read_objects(resource: Resource, answer: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the objects of an answer: those of a page, or the answer itself."""
    if resource.shape != "points" and isinstance(answer.get("data"), list):
        return list(answer["data"])
    return [answer]


def make_rows(resource: Resource, found: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Yield the rows of an object of an answer."""
    if resource.shape == "values":
        for metric, value in found["values"].items():
            yield {"box": found["box"], "time": found["times"].get(metric), "metric": metric, "value": value}
    elif resource.shape in {"points", "series"}:
        of = {name: found[name] for name in _READING}
        for point in found["points"]:
            yield of | point
    else:
        yield found
