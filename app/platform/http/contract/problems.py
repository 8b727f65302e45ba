"""Turns errors into RFC 9457 `application/problem+json` responses, each with a stable `code`."""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.routing import Match, Mount

from app.platform.db.database import DATABASE_ERRORS, is_schema_mismatch, is_transient
from app.platform.http.openapi.openapi_finalizer import (
    finalize_document,
    iterate_operations,
    list_common_problems,
)
from app.platform.kernel.errors import VigieError
from app.platform.kernel.rejection_codes import REJECTION_REASONS
from app.platform.observability.metrics_and_logs import (
    current_request_id,
    get_logger,
    list_error_frames,
    redact_error,
)

MEDIA_TYPE = "application/problem+json"
_log = get_logger(__name__)

_TITLES = {
    400: "Bad request",
    401: "Not signed in",
    403: "Not allowed",
    404: "Not found",
    405: "Method not allowed",
    409: "Conflict",
    408: "Too slow",
    412: "Changed meanwhile",
    413: "Too large",
    414: "Address too long",
    415: "Unsupported media type",
    422: "Cannot be processed",
    429: "Too many requests",
    431: "Headers too large",
    500: "Internal error",
    501: "Not implemented",
    503: "Not available now",
    504: "Took too long",
}
# Types of pydantic's errors → stable codes.
_CODES = {
    "missing": "missing_field",
    "union_tag_not_found": "missing_field",
    "extra_forbidden": "unknown_field",
    "json_invalid": "invalid_json",
    "json_type": "invalid_json",
}


# Replaces pydantic's messages where they address programmers.
_DETAILS = {
    "extra_forbidden": "This field does not exist. Remove it, or check its spelling",
    "model_attributes_type": "This has to be an object, {…}",
    "model_type": "This has to be an object, {…}",
    "dict_type": "This has to be an object, {…}",
}


_METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
# Enough to correct a form; a body can contain half a million faults.
FAULTS_LIMIT = 20
_FIELD_LIMIT = 64


class FieldProblem(BaseModel):
    """One fault of one field."""

    field: str = Field(examples=["body.location.coordinates"])
    code: str = Field(examples=["missing_field"])
    detail: str = Field(examples=["Field required"])


class Problem(BaseModel):
    """RFC 9457: what went wrong, and what to do. Match on `code`: it is stable, the texts are not."""

    model_config = ConfigDict(extra="allow")

    type: str = Field("about:blank", description="A URI for the kind of problem")
    title: str = Field(description="The status in words")
    status: int = Field(description="The HTTP status")
    code: str = Field(description="Stable, for programs", examples=["not_found"])
    detail: str = Field(description="For people: names every fault of `errors`")
    request_id: str | None = Field(
        None, description="The response's `X-Request-Id`, which is also in the log"
    )
    errors: list[FieldProblem] | None = Field(
        None, description=f"The first {FAULTS_LIMIT} faults; more for a list of boxes"
    )


def make_problem_response(
    status: int,
    code: str,
    detail: str,
    extra: Mapping[str, Any] | None = None,
    headers: Mapping[str, str] | None = None,
) -> JSONResponse:
    """Build a problem response.

    Args:
        status: the HTTP status.
        code: the stable code.
        detail: what happened and what to do, for people.
        extra: further members of the problem.
        headers: further headers of the response.
    """
    body = {
        "type": "about:blank",
        "title": _TITLES.get(status, "Error"),
        "status": status,
        "code": code,
        "detail": detail,
        **(extra or {}),
        **({} if (request_id := current_request_id()) is None else {"request_id": request_id}),
    }
    return JSONResponse(body, status_code=status, media_type=MEDIA_TYPE, headers=dict(headers or {}))


def get_field_error_code(error: Mapping[str, Any]) -> str:
    """Return the stable code of one of pydantic's errors."""
    kind = str(error["type"])
    if kind in _CODES:
        return _CODES[kind]
    context = error.get("ctx") or {}
    cause = context.get("error")
    if isinstance(cause, CodedValueError):
        return cause.code
    return "wrong_type" if kind.endswith(("_type", "_parsing")) else "invalid_value"


class CodedValueError(ValueError):
    """A ValueError for pydantic validators that carries a stable code."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code = code


class FaultSummary(NamedTuple):
    """The faults of a request as problems name them: the code of the first one, and all in a sentence."""

    code: str
    detail: str
    faults: list[FieldProblem]

    def list_errors(self) -> list[dict[str, Any]]:
        """Return the member `errors` of the problem."""
        return [fault.model_dump() for fault in self.faults]


def summarise_faults(error: RequestValidationError) -> FaultSummary:
    """Summarise the faults of a request for its problem."""
    faults = [
        FieldProblem(
            # Names of unknown fields are the client's and may be long.
            field=".".join(str(part)[:_FIELD_LIMIT] for part in fault["loc"]),
            code=get_field_error_code(fault),
            detail=_DETAILS.get(fault["type"], re.sub(r"^Value error, ", "", str(fault["msg"]))),
        )
        for fault in error.errors()[:FAULTS_LIMIT]
    ]
    more = len(error.errors()) - len(faults)
    detail = _all_faults(faults) + (f"; and {more} more" if more else "")
    return FaultSummary(faults[0].code, detail, faults)


def _validation(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)  # noqa: S101 (registered for this class alone)
    code, detail, _faults = summary = summarise_faults(error)
    status = REJECTION_REASONS[code].status if code in REJECTION_REASONS else 422
    return make_problem_response(status, code, detail, {"errors": summary.list_errors()})


def _all_faults(faults: Sequence[FieldProblem]) -> str:
    """List every fault, grouping fields with the same detail, so that a client can fix all of them."""
    fields: dict[str, list[str]] = {}
    for fault in faults:
        fields.setdefault(fault.detail, []).append(fault.field)
    return "; ".join(f"{', '.join(names)}: {detail}" for detail, names in fields.items())


def _vigie(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, VigieError)  # noqa: S101 (registered for this class alone)
    return make_error_response(error)


def make_error_response(error: VigieError) -> JSONResponse:
    """Build the response to an error, for callers that answer without raising it."""
    headers = {"WWW-Authenticate": "Bearer"} if error.status == 401 else {}  # noqa: PLR2004 (an HTTP status)
    if error.status == 408:  # noqa: PLR2004 (an HTTP status)
        # The server must not wait for the rest of the body.
        headers["Connection"] = "close"
    if error.retry_after_s is not None:
        headers["Retry-After"] = str(error.retry_after_s)
    return make_problem_response(error.status, error.code, error.detail, error.extra, headers)


def _http(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)  # noqa: S101 (registered for this class alone)
    codes = {
        404: "not_found",
        405: "method_not_allowed",
        413: "body_too_large",
        415: "unsupported_media_type",
    }
    code = codes.get(error.status_code, f"http_{error.status_code}")
    headers = dict(error.headers or {})
    detail = str(error.detail)
    if error.status_code == 404:  # noqa: PLR2004 (an HTTP status)
        detail = "There is nothing at this address. /docs lists all calls."
    if error.status_code == 405:  # noqa: PLR2004 (an HTTP status)
        headers["Allow"] = ", ".join(_methods(request))
        detail = f"{request.method} is not allowed here. Use one of: {headers['Allow']}."
    return make_problem_response(error.status_code, code, detail, headers=headers)


def _methods(request: Request) -> list[str]:
    """Return the methods of a path. A route knows only its own, and other routes may share the path."""
    app: FastAPI = request.app
    # A mount of static files accepts every method and rejects it itself.
    routes = [route for route in app.router.routes if not isinstance(route, Mount)]
    names = ("type", "path", "root_path", "query_string", "headers", "app")
    scope = {name: request.scope[name] for name in names}
    found = [
        method
        for method in _METHODS
        if any(route.matches({**scope, "method": method})[0] is Match.FULL for route in routes)
    ]
    return ["GET", "HEAD", *found[1:]] if found[:1] == ["GET"] or not found else found


def _gone(_: Request, __: Exception) -> JSONResponse:
    # The client does not get this response. It only stops a lost connection from being logged as an internal
    # error.
    return make_problem_response(400, "client_disconnected", "The request ended before its body did.")


def _database(request: Request, error: Exception) -> JSONResponse:
    if is_schema_mismatch(error):
        # As with MQTT: a box keeps its samples until the operator has run the migrations.
        _log.error("schema_unfit", path=request.scope["path"], method=request.method, exc_info=error)
        detail = "The database schema does not fit this version: run `vigie migrate`, then try again."
        return make_problem_response(503, "unavailable", detail, headers={"Retry-After": "10"})
    if not is_transient(error):
        return handle_unexpected_error(request, error)
    _log.warning(
        "database_away", path=request.scope["path"], method=request.method, error=redact_error(error)
    )
    detail = "The database is not available. Nothing was changed: try again."
    return make_problem_response(503, "unavailable", detail, headers={"Retry-After": "1"})


def handle_unexpected_error(request: Request, error: Exception) -> JSONResponse:
    """Log an unexpected error and answer 500."""
    # The error's message may quote the request.
    _log.error(
        "unexpected_error",
        path=request.scope["path"],
        method=request.method,
        error=redact_error(error),
        at=list_error_frames(error),
    )
    return make_problem_response(
        500, "internal", "An unexpected error occurred and was logged. Try again later."
    )


def install_error_handlers(app: FastAPI) -> None:
    """Register handlers that turn every error of the application into problem+json."""
    app.add_exception_handler(RequestValidationError, _validation)
    app.add_exception_handler(VigieError, _vigie)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(ClientDisconnect, _gone)
    for kind in DATABASE_ERRORS:
        app.add_exception_handler(kind, _database)
    app.add_exception_handler(Exception, handle_unexpected_error)


_EXAMPLE_CODES = {
    400: "invalid_json",
    401: "unauthorised",
    403: "forbidden",
    404: "not_found",
    405: "method_not_allowed",
    408: "body_too_slow",
    409: "conflict",
    412: "precondition_failed",
    413: "body_too_large",
    414: "uri_too_long",
    415: "unsupported_media_type",
    422: "missing_field",
    429: "too_many_attempts",
    431: "headers_too_large",
    500: "internal",
    501: "not_implemented",
    503: "unavailable",
    504: "deadline_exceeded",
}


def document_problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return the `responses=` of a route: the problems that it can answer with.

    Leave out those that follow from the route: `list_common_problems` adds those of authentication,
    parameters and bodies (`app.platform.http.openapi.openapi_finalizer`), and `describe_headers` those of
    scopes, idempotency keys and preconditions (`app.platform.http.contract.header_descriptions`). Routes that
    are not of `StrictRoute` name the 403 of their scope here.
    """
    return {
        status: {
            "description": _TITLES.get(status, "Error"),
            "content": {
                MEDIA_TYPE: {
                    "schema": {"$ref": "#/components/schemas/Problem"},
                    "example": {
                        "type": "about:blank",
                        "title": _TITLES.get(status, "Error"),
                        "status": status,
                        "code": _EXAMPLE_CODES.get(status, f"http_{status}"),
                        "detail": "What happened and what to do.",
                    },
                }
            },
        }
        for status in statuses
    }


def complete_openapi(app: FastAPI, *further: Callable[[dict[str, Any]], None]) -> None:
    """Complete the OpenAPI document with problems, descriptions and examples (`openapi_finalizer`).

    Args:
        app: The application.
        further: Further steps, each called once with the document.
    """
    original = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is not None:
            return app.openapi_schema
        made = original()
        schemas = made.setdefault("components", {}).setdefault("schemas", {})
        schema = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
        schemas.update(schema.pop("$defs", {}))
        schemas["Problem"] = schema
        for describe_more in further:
            describe_more(made)
        problems = {str(status): response for status, response in document_problems(*_TITLES).items()}
        for path, _, operation in iterate_operations(made):
            answers = operation["responses"]
            if "HTTPValidationError" in str(answers.get("422", "")):
                del answers["422"]
            for status in list_common_problems(path, operation):
                answers.setdefault(status, problems[status])
        finalize_document(made, problems)
        return made

    app.openapi = openapi  # type: ignore[method-assign] # FastAPI's own way of extending the document
