"""Accepts CSV instead of JSON in `POST /v1/boxes/bulk`, and reports errors by line of the table.

Handles the two content types of `POST /v1/boxes/bulk`. `app.registry.box_csv` parses the table.
"""

import asyncio
import json
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from email.message import Message
from operator import attrgetter
from typing import Any, Final

from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from pydantic import ValidationError

from app.platform.http.contract.forbidden_content_check import check_body
from app.platform.http.contract.problems import get_field_error_code
from app.platform.http.contract.strict_body import StrictRoute, UnreadableBodyError, read_body
from app.platform.kernel.errors import VigieError
from app.platform.kernel.rejection_codes import REJECTION_REASONS
from app.registry.box_csv import ATTRIBUTE, BoxTable, read_box_table
from app.registry.box_schemas import BULK_FAULTS, BoxCreate
from app.registry.spreadsheet_csv_reader import TableError, TableFault, UnknownCharsetError

MEDIA_TYPE: Final = "text/csv"
_FAILED: Final = 500
_COORDINATE_COLUMNS: Final = {
    ("location", "coordinates", 0): "longitude",
    ("location", "coordinates", 1): "latitude",
}


class FaultyTableError(VigieError):
    """A table with faults. `errors` lists them by line; the code and the status are those of the first one.

    Args:
        faults: The faults.
        omitted: The number of further faults that are not listed.
    """

    def __init__(self, faults: Iterable[TableFault], omitted: int = 0) -> None:
        listed = sorted(faults, key=attrgetter("line"))
        first = listed[0]
        omitted += max(0, len(listed) - BULK_FAULTS)
        errors = [fault._asdict() for fault in listed[:BULK_FAULTS]]
        super().__init__(
            f"line {first.line}, {first.field}: {first.detail}",
            code=first.code,
            extra={"errors": errors, "errors_omitted": omitted},
        )
        self.status = REJECTION_REASONS[first.code].status if first.code in REJECTION_REASONS else 422


class TableRoute(StrictRoute):
    """A route that accepts CSV (`text/csv`) or JSON."""

    max_body = None  # A thousand boxes with all their fields exceed the limit of other routes.

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Make the handler that dispatches by content type."""
        handle_json = super().get_route_handler()
        handle_json_body = APIRoute.get_route_handler(self)

        async def handle(request: Request) -> Response:
            declared = Message()
            declared["content-type"] = request.headers.get("content-type", "")
            if declared.get_content_type() != MEDIA_TYPE:
                return await handle_json(request)
            await self.admit(request)
            body = await read_body(request, most=self.max_body)
            # In a thread: five megabytes of blank lines take half a second and would block other requests.
            table = await asyncio.to_thread(_read, body, declared.get_content_charset())
            await asyncio.to_thread(check_body, table.document)
            table = await asyncio.to_thread(_validate_rows, table)
            if table.faults and not table.lines:
                raise FaultyTableError(table.faults)
            request.state.table_faults = table.faults
            try:
                return await handle_json_body(_replace_body(request, table))
            except RequestValidationError as error:
                raise FaultyTableError(_make_fault(entry, table.lines) for entry in error.errors()) from None
            except FaultyTableError:
                raise
            except VigieError as error:
                if table.faults and error.status < _FAILED:
                    raise _merge_faults(table, error) from None
                _name_lines(error, table)
                raise

        return handle


def check_table(request: Request) -> None:
    """Refuse a table with faults, after its valid rows were checked (FaultyTableError).

    Call it in the transaction that stores the rows, so that none is stored.
    """
    faults: Sequence[TableFault] = getattr(request.state, "table_faults", ())
    if faults:
        raise FaultyTableError(faults)


def wants_table(request: Request) -> bool:
    """Whether the `Accept` header prefers CSV to JSON."""
    for part in request.headers.get("accept", "").split(","):
        kind = part.partition(";")[0].strip().lower()
        if kind in {MEDIA_TYPE, "application/json", "*/*"}:
            return kind == MEDIA_TYPE
    return False


def _read(body: bytes, charset: str | None) -> BoxTable:
    try:
        return read_box_table(body, charset)
    except TableError as error:
        raise FaultyTableError(error.faults) from None
    except UnknownCharsetError:
        raise UnreadableBodyError(
            "unsupported_media_type",
            "Send the table in UTF-8, Windows-1252, ISO 8859-1, ISO 8859-15 or UTF-16",
        ) from None


def _validate_rows(table: BoxTable) -> BoxTable:
    """Validate the fields of all rows. Of an invalid box only the id and the site remain, if they are valid.

    The database then checks those too. It stores no row of a table with faults.
    """
    first = [
        TableFault(1, name, "missing_field", f"The table has no column {name}. Add it")
        for name in table.absent
    ]
    faults = [*table.faults, *first]
    if table.absent:
        # Each row lacks the column: one fault is enough.
        return BoxTable({"boxes": []}, [], faults)
    boxes = table.document["boxes"]
    for index, box in enumerate(boxes):
        try:
            BoxCreate.model_validate(box)
        except ValidationError as error:
            found = (
                _make_fault({**entry, "loc": ("body", "boxes", index, *entry["loc"])}, table.lines)
                for entry in error.errors()
            )
            faults += found
    faulty_lines = {fault.line for fault in faults}
    to_check = [
        (line, _extract_identity(box) if line in faulty_lines else box)
        for line, box in zip(table.lines, boxes, strict=True)
        if line not in faulty_lines or _extract_identity(box)
    ]
    return BoxTable({"boxes": [box for _, box in to_check]}, [line for line, _ in to_check], faults)


def _extract_identity(box: Mapping[str, Any]) -> dict[str, Any] | None:
    """Extract the id and the site of a box; None unless both are valid."""
    identity = {name: value for name, value in box.items() if name in {"id", "site_id"}}
    try:
        BoxCreate.model_validate(identity)
    except ValidationError:
        return None
    return identity


def _merge_faults(table: BoxTable, error: VigieError) -> FaultyTableError:
    """Merge the faults of a table with those that the database found in its other rows."""
    found = [
        TableFault(table.lines[each["index"]], each["field"], each["code"], each["detail"])
        for each in error.extra.get("errors", [{"index": 0, "field": "table"} | _describe_error(error)])
    ]
    return FaultyTableError([*table.faults, *found], error.extra.get("errors_omitted", 0))


def _describe_error(error: VigieError) -> dict[str, Any]:
    return {"code": error.code, "detail": error.detail}


def _replace_body(request: Request, table: BoxTable) -> Request:
    headers = [(name, value) for name, value in request.scope["headers"] if name != b"content-type"]
    scope = {**request.scope, "headers": [*headers, (b"content-type", b"application/json")]}
    made = Request(scope, request.receive)
    made._body = json.dumps(table.document).encode()  # noqa: SLF001 (Starlette's cache of the body)
    return made


def _make_fault(entry: Mapping[str, Any], lines: Sequence[int]) -> TableFault:
    # ("body", "boxes", index, field …), or shorter if the list as a whole is invalid.
    location = tuple(entry["loc"])[2:]
    detail = str(entry["msg"]).removeprefix("Value error, ")
    if not location:
        return TableFault(1, "table", get_field_error_code(entry), detail)
    match location[1:]:
        case ("attributes", name, *_):
            field = f"{ATTRIBUTE}{name}"
        case path:
            field = _COORDINATE_COLUMNS.get(path) or ".".join(map(str, path))
    return TableFault(lines[location[0]], field, get_field_error_code(entry), detail)


def _name_lines(error: VigieError, table: BoxTable) -> None:
    for part in (error.extra, *error.extra.get("errors", [])):
        if "index" in part:
            part["line"] = table.lines[part.pop("index")]
    if "line" in error.extra:
        error.detail = f"line {error.extra['line']}: {error.detail.partition(': ')[2]}"
