"""How a table in place of a JSON body reaches its route, and how faults are told by its lines.

Owns the two content types of `POST /v1/boxes/bulk`; what a table is stands in `app.sites.box_csv`.
"""

import asyncio
import json
from collections.abc import Callable, Coroutine, Iterable
from email.message import Message
from typing import Any, Final

from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute

from app.core.body_guard import check_body
from app.core.errors import VigieError
from app.core.problems import FAULTS_LIMIT, field_code
from app.core.reasons import REASONS
from app.core.strict_body import StrictRoute, UnreadableBodyError, read_body
from app.sites.box_csv import ATTRIBUTE, Fault, Table, TableError, read_table

MEDIA_TYPE: Final = "text/csv"
_CHARSETS: Final = frozenset({"utf-8", "utf8", "us-ascii"})
_PLACE: Final = {("location", "coordinates", 0): "longitude", ("location", "coordinates", 1): "latitude"}


class FaultyTableError(VigieError):
    """A table with faults: `errors` has them with their lines; code and status are the first one's."""

    def __init__(self, faults: Iterable[Fault]) -> None:
        first, *others = list(faults)[:FAULTS_LIMIT]
        errors = [fault._asdict() for fault in (first, *others)]
        super().__init__(
            f"line {first.line}, {first.field}: {first.detail}", code=first.code, extra={"errors": errors}
        )
        self.status = REASONS[first.code].status if first.code in REASONS else 422


class TableRoute(StrictRoute):
    """A route that takes a table where the content type says so, and JSON as ever otherwise."""

    max_body = None  # A thousand boxes, with all that each may have.

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The handler for either form."""
        for_json = super().get_route_handler()
        plain = APIRoute.get_route_handler(self)

        async def handle(request: Request) -> Response:
            if not _is_table(request):
                return await for_json(request)
            await self.admit(request)
            body = await read_body(request, most=self.max_body)
            try:
                # Half a second for five megabytes of blank lines: others are served meanwhile.
                table = await asyncio.to_thread(read_table, body)
            except TableError as error:
                raise FaultyTableError(error.faults) from None
            await asyncio.to_thread(check_body, table.document)
            try:
                return await plain(_as_json(request, table))
            except RequestValidationError as error:
                raise FaultyTableError(_fault(entry, table) for entry in error.errors()) from None
            except VigieError as error:
                _name_lines(error, table)
                raise

        return handle


def wants_table(request: Request) -> bool:
    """Tell whether the client asks for a table before it asks for JSON."""
    for part in request.headers.get("accept", "").split(","):
        kind = part.partition(";")[0].strip().lower()
        if kind in {MEDIA_TYPE, "application/json", "*/*"}:
            return kind == MEDIA_TYPE
    return False


def _is_table(request: Request) -> bool:
    message = Message()
    message["content-type"] = request.headers.get("content-type", "")
    if message.get_content_type() != MEDIA_TYPE:
        return False
    if message.get_content_charset("utf-8") not in _CHARSETS:
        raise UnreadableBodyError("unsupported_media_type", "Send the table in UTF-8")
    return True


def _as_json(request: Request, table: Table) -> Request:
    headers = [(name, value) for name, value in request.scope["headers"] if name != b"content-type"]
    scope = {**request.scope, "headers": [*headers, (b"content-type", b"application/json")]}
    made = Request(scope, request.receive)
    made._body = json.dumps(table.document).encode()  # noqa: SLF001 (where Starlette keeps a body that was read)
    return made


def _fault(entry: dict[str, Any], table: Table) -> Fault:
    # ("body", "boxes", index, field …), or less where the list as a whole is at fault.
    location = tuple(entry["loc"])[2:]
    detail = str(entry["msg"]).removeprefix("Value error, ")
    if not location:
        return Fault(1, "table", field_code(entry), detail)
    match location[1:]:
        case ("attributes", name, *_):
            field = f"{ATTRIBUTE}{name}"
        case path:
            field = _PLACE.get(path) or ".".join(map(str, path))
    return Fault(table.lines[location[0]], field, field_code(entry), detail)


def _name_lines(error: VigieError, table: Table) -> None:
    for part in (error.extra, *error.extra.get("errors", [])):
        if "index" in part:
            part["line"] = table.lines[part.pop("index")]
    if "line" in error.extra:
        error.detail = f"line {error.extra['line']}: {error.detail.partition(': ')[2]}"
