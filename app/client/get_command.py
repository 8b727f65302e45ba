"""Implements `vigie get`: reads resources, and writes them as a table, JSON or CSV."""

import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, TextIO
from urllib.parse import quote

from app.client.api_connection import ApiConnection, Parameters
from app.client.client_errors import UsageError
from app.client.output_formats import (
    OutputFormat,
    complete_columns,
    write_csv,
    write_fields,
    write_json,
    write_table,
)
from app.client.resources import RESOURCES, Resource, make_rows, read_objects


@dataclass(frozen=True, slots=True)
class GetRequest:
    """The resource to read, and the format of the output.

    Attributes:
        resource: A name of `RESOURCES`.
        identifier: One entry, or the box or site of the resource.
        parameters: Query parameters.
        limit: The most entries; None: all.
        columns: The columns; empty: those of the resource.
        output: The format.
    """

    resource: str
    identifier: str | None
    parameters: Parameters
    limit: int | None
    columns: tuple[str, ...]
    output: OutputFormat


def run_get(api: ApiConnection, request: GetRequest, file: TextIO) -> None:
    """Read and write.

    Raises:
        UsageError: There is no such resource, or it needs an ID.
        ApiError: The API refused.
    """
    resource = _find_resource(request.resource)
    if request.identifier is not None and not resource.id_of and not resource.entry:
        raise UsageError(f"{request.resource} has no entries with an ID. Leave {request.identifier!r} out.")
    if request.identifier is None and resource.id_of:
        raise UsageError(f"`vigie get {request.resource}` needs the id of {resource.id_of}.")
    is_list = request.identifier is None or bool(resource.id_of)
    path = resource.path if is_list else resource.entry
    path = path.replace("{id}", quote(request.identifier or "", safe=""))
    if is_list:
        _write_list(resource, _read_list(api, resource, path, request), request, file)
        return
    found = api.get(path, request.parameters)
    if request.output == "table" and not request.columns:
        write_fields(found, file)
    else:
        _write_list(resource, iter([found]), request, file)


def _find_resource(name: str) -> Resource:
    if name in RESOURCES:
        return RESOURCES[name]
    near = get_close_matches(name, RESOURCES, n=1)
    hint = f" Do you mean {near[0]}?" if near else ""
    raise UsageError(f"There is no resource {name!r}.{hint} Resources: {', '.join(RESOURCES)}")


def _read_list(
    api: ApiConnection, resource: Resource, path: str, request: GetRequest
) -> Iterator[Mapping[str, Any]]:
    """Yield the objects of all pages, cut to the limit."""
    left = request.limit
    parameters = list(request.parameters)
    if resource.page_limit:
        most = resource.page_limit if left is None else min(left, resource.page_limit)
        parameters.append(("limit", str(most)))
    for page in api.pages(path, parameters):
        for found in read_objects(resource, page):
            shown = found
            if left is not None and "points" in found:
                shown = {**found, "points": found["points"][:left]}
            yield shown
            if left is not None:
                left -= len(shown["points"]) if "points" in shown else 1
                if left <= 0:
                    return


def _write_list(
    resource: Resource, objects: Iterator[Mapping[str, Any]], request: GetRequest, file: TextIO
) -> None:
    if request.output == "json":
        write_json(objects, file)
        return
    rows = (row for found in objects for row in make_rows(resource, found))
    columns = request.columns or resource.columns
    if not request.columns and resource.shape in {"points", "series"}:
        columns, rows = complete_columns(columns, rows)  # type: ignore[assignment]
    if request.output == "csv":
        write_csv(columns, rows, file)
    else:
        width = shutil.get_terminal_size().columns if file.isatty() else None
        write_table(columns, rows, file, width=width)
