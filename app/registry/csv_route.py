"""How a table in place of a JSON body reaches its route, and how faults are told by its lines.

Owns the two content types of `POST /v1/boxes/bulk`; what a table is stands in `app.registry.box_csv`.
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

from app.platform.http.contract.body_scanner import check_body
from app.platform.http.contract.problems import get_field_error_code
from app.platform.http.contract.strict_body import StrictRoute, UnreadableBodyError, read_body
from app.platform.kernel.errors import VigieError
from app.platform.kernel.rejection_codes import REJECTION_REASONS
from app.registry.box_csv import ATTRIBUTE, BoxTable, read_box_table
from app.registry.box_schemas import BULK_FAULTS, BoxCreate
from app.registry.spreadsheet_csv import TableError, TableFault, UnknownCharsetError

MEDIA_TYPE: Final = "text/csv"
_FAILED: Final = 500
_PLACE: Final = {("location", "coordinates", 0): "longitude", ("location", "coordinates", 1): "latitude"}


class FaultyTableError(VigieError):
    """A table with faults: `errors` has them by their lines; code and status are the first one's.

    Args:
        faults: The faults.
        omitted: How many more there are.
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
    """A route that takes a table where the content type says so, and JSON as ever otherwise."""

    max_body = None  # A thousand boxes, with all that each may have.

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The handler for either form."""
        for_json = super().get_route_handler()
        plain = APIRoute.get_route_handler(self)

        async def handle(request: Request) -> Response:
            declared = Message()
            declared["content-type"] = request.headers.get("content-type", "")
            if declared.get_content_type() != MEDIA_TYPE:
                return await for_json(request)
            await self.admit(request)
            body = await read_body(request, most=self.max_body)
            # Half a second for five megabytes of blank lines: others are served meanwhile.
            table = await asyncio.to_thread(_read, body, declared.get_content_charset())
            await asyncio.to_thread(check_body, table.document)
            table = await asyncio.to_thread(_validated, table)
            if table.faults and not table.lines:
                raise FaultyTableError(table.faults)
            request.state.table_faults = table.faults
            try:
                return await plain(_as_json(request, table))
            except RequestValidationError as error:
                raise FaultyTableError(_fault(entry, table.lines) for entry in error.errors()) from None
            except FaultyTableError:
                raise
            except VigieError as error:
                if table.faults and error.status < _FAILED:
                    raise _together(table, error) from None
                _name_lines(error, table)
                raise

        return handle


def check_table(request: Request) -> None:
    """Refuse a request whose table has faults, once its rows without faults are checked (FaultyTableError).

    Call it in the transaction that stores the rows, which then stores none.
    """
    faults: Sequence[TableFault] = getattr(request.state, "table_faults", ())
    if faults:
        raise FaultyTableError(faults)


def wants_table(request: Request) -> bool:
    """Tell whether the client asks for a table before it asks for JSON."""
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


def _validated(table: BoxTable) -> BoxTable:
    """The table with all faults of fields. Of a box at fault it keeps id and site, if these are right.

    The database checks those too, and stores nothing of a table with faults.
    """
    first = [
        TableFault(1, name, "missing_field", f"The table has no column {name}. Add it")
        for name in table.absent
    ]
    faults = [*table.faults, *first]
    if table.absent:
        # Each row lacks the same.
        return BoxTable({"boxes": []}, [], faults)
    boxes = table.document["boxes"]
    for place, box in enumerate(boxes):
        try:
            BoxCreate.model_validate(box)
        except ValidationError as error:
            found = (
                _fault({**entry, "loc": ("body", "boxes", place, *entry["loc"])}, table.lines)
                for entry in error.errors()
            )
            faults += found
    wrong = {fault.line for fault in faults}
    to_check = [
        (line, _named(box) if line in wrong else box)
        for line, box in zip(table.lines, boxes, strict=True)
        if line not in wrong or _named(box)
    ]
    return BoxTable({"boxes": [box for _, box in to_check]}, [line for line, _ in to_check], faults)


def _named(box: Mapping[str, Any]) -> dict[str, Any] | None:
    """The id and the site of a box, None where they are not both right."""
    named = {name: value for name, value in box.items() if name in {"id", "site_id"}}
    try:
        BoxCreate.model_validate(named)
    except ValidationError:
        return None
    return named


def _together(table: BoxTable, error: VigieError) -> FaultyTableError:
    """The faults of a table, and those that the database has found in its other rows."""
    found = [
        TableFault(table.lines[each["index"]], each["field"], each["code"], each["detail"])
        for each in error.extra.get("errors", [{"index": 0, "field": "table"} | _said(error)])
    ]
    return FaultyTableError([*table.faults, *found], error.extra.get("errors_omitted", 0))


def _said(error: VigieError) -> dict[str, Any]:
    return {"code": error.code, "detail": error.detail}


def _as_json(request: Request, table: BoxTable) -> Request:
    headers = [(name, value) for name, value in request.scope["headers"] if name != b"content-type"]
    scope = {**request.scope, "headers": [*headers, (b"content-type", b"application/json")]}
    made = Request(scope, request.receive)
    made._body = json.dumps(table.document).encode()  # noqa: SLF001 (where Starlette keeps a body that was read)
    return made


def _fault(entry: Mapping[str, Any], lines: Sequence[int]) -> TableFault:
    # ("body", "boxes", index, field …), or less where the list as a whole is at fault.
    location = tuple(entry["loc"])[2:]
    detail = str(entry["msg"]).removeprefix("Value error, ")
    if not location:
        return TableFault(1, "table", get_field_error_code(entry), detail)
    match location[1:]:
        case ("attributes", name, *_):
            field = f"{ATTRIBUTE}{name}"
        case path:
            field = _PLACE.get(path) or ".".join(map(str, path))
    return TableFault(lines[location[0]], field, get_field_error_code(entry), detail)


def _name_lines(error: VigieError, table: BoxTable) -> None:
    for part in (error.extra, *error.extra.get("errors", [])):
        if "index" in part:
            part["line"] = table.lines[part.pop("index")]
    if "line" in error.extra:
        error.detail = f"line {error.extra['line']}: {error.detail.partition(': ')[2]}"
