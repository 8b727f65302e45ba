"""Reads request bodies strictly: size limit, content type, then strict JSON.

    router = APIRouter(prefix="/v1/sites", route_class=StrictRoute)

Turns bytes into a document, with the rejection codes that MQTT and HTTP share; the route's model validates
the document. Routes without authentication use `AnonymousRoute`: its bodies are small and cheap to read.
"""

import asyncio
from collections.abc import Callable, Collection, Coroutine, Iterator
from contextlib import aclosing
from email.message import Message
from functools import cached_property
from typing import Any, ClassVar, Final

from fastapi import Request, Response
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute
from starlette.types import Receive, Scope, Send

from app.platform.config.api_settings import ApiSettings
from app.platform.http.contract import idempotency
from app.platform.http.contract.buffered_response import BufferedResponse, buffer_response
from app.platform.http.contract.etags import EtagPolicy, ResponseModel, add_etag
from app.platform.http.contract.forbidden_content_check import check_body
from app.platform.http.contract.query_parameters import list_query_parameters, reject_unknown_parameters
from app.platform.http.contract.remembered_arguments import ArgumentCache, get_remembered_endpoint
from app.platform.identity.caller_authentication import (
    Principal,
    ScopeRequirement,
    authenticate_request,
    current_principal,
    derive_read_scope,
    get_known_principal,
)
from app.platform.kernel import strict_json
from app.platform.kernel.application_resources import get_resource
from app.platform.kernel.errors import VigieError
from app.platform.kernel.rejection_codes import RejectedError, format_rejected_value, get_rejection_status

MEDIA_TYPES: Final = frozenset({"application/json", "application/merge-patch+json"})
_ABOUT_BODY: Final = frozenset({b"content-type", b"content-length"})
_CHARSETS: Final = frozenset({"utf-8", "utf8", "us-ascii"})
# Parsing this many bytes takes at most four milliseconds. Larger bodies are parsed in a thread, while the
# loop serves others.
_PARSE_INLINE_BYTES: Final = 16_384


class UnreadableBodyError(VigieError):
    """A body that cannot be read. Its status is that of its rejection code: 400, 408, 413 or 415."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail, code=code)
        self.status = get_rejection_status(code)


class StrictRoute(APIRoute):
    """A route with a strictly parsed JSON body.

    - 400: NaN, duplicate keys, deep nesting and the like.
    - 413: more than `max_body` or `api.max_body_bytes`, whether or not the length was announced.
    - 415: a wrong content type, or an encoding such as gzip.
    - 422: forbidden content (`app.platform.http.contract.forbidden_content_check`).

    Requests without a valid key (401) or the scope (403) are refused before the body is read.
    """

    max_depth: ClassVar[int] = strict_json.MAX_DEPTH
    """Maximum nesting of arrays and objects in the body."""

    max_body: ClassVar[int | None] = 262_144
    """Maximum bytes of a body, below `api.max_body_bytes`; None: only that setting applies."""

    media_types: ClassVar[frozenset[str]] = MEDIA_TYPES
    """The content types that a body may have."""

    open_without_second_factor: ClassVar[bool] = False
    """Whether it answers people whose organisation requires a second factor that they do not have."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return FastAPI's handler, wrapped in the read_scopes of the body."""
        handler = super().get_route_handler()
        field = self.body_field
        if field is None:
            endpoint = get_remembered_endpoint(self.endpoint, self.dependant)

            async def checked(request: Request) -> Response:
                reject_unknown_parameters(request.scope, self.query_parameters)
                if endpoint is None:
                    return await handler(request)
                return await get_resource(request.app, ArgumentCache).answer(request, endpoint, handler)

            return checked
        required = field.field_info.is_required()
        guarded = requires_caller(self.dependant)

        async def strict(request: Request) -> Response:
            if guarded:
                await self.admit(request)
            body = await read_body(request, most=self.max_body)
            if body or required:
                check_media_type(request, body, self.media_types)
            read = await _Read.of(request, body, required=required, max_depth=self.max_depth)
            reject_unknown_parameters(request.scope, self.query_parameters)
            return await handler(read)

        return strict

    async def admit(self, request: Request) -> Principal:
        """Return the caller if it may call this route (UnauthorisedError, ForbiddenError).

        Runs before the body is read. The route's own dependencies check again.
        """
        principal = await authenticate_request(request)
        for requirement in self.requirements:
            requirement.check(principal)
        return principal

    @cached_property
    def accepts_idempotency_key(self) -> bool:
        """Whether the route accepts an `Idempotency-Key`: a POST with authentication."""
        return "POST" in (self.methods or ()) and requires_caller(self.dependant)

    @cached_property
    def query_parameters(self) -> frozenset[str] | None:
        """The query parameters that it has; None: it accepts any."""
        return list_query_parameters(self)

    @cached_property
    def requirements(self) -> tuple[ScopeRequirement, ...]:
        """The scopes that a caller needs."""
        return tuple(dict.fromkeys(_requirements(self.dependant)))

    @cached_property
    def read_scopes(self) -> tuple[str, ...]:
        """The scopes without which a change responds with 204 instead of the resource."""
        if "GET" in (self.methods or ()) or not self.param_convertors or not _shows(self.response_model):
            return ()
        if self.name.startswith("create_"):
            return ()
        return tuple(derive_read_scope(each.scope) for each in self.requirements)

    @cached_property
    def etag_policy(self) -> EtagPolicy | None:
        """How its responses are tagged; None where they are not one resource."""
        return EtagPolicy.of(self.response_model)

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, with an ETag for a resource, and a POST with an idempotency key only once."""
        if (
            scope["method"] != "POST"
            or "POST" not in (self.methods or ())
            or not idempotency.has_idempotency_key(scope)
        ):
            await self._answer(scope, receive, send)
            return
        request = Request(scope, receive)
        if not self.accepts_idempotency_key:
            idempotency.refuse_idempotency_key(request)
        # Before a stored response is read: a caller who lost access gets none.
        principal = await self.admit(request)
        body = await read_body(request, most=self.max_body)
        await idempotency.execute_once(self._answer, request, principal, body, send)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        if not self.read_scopes and self.etag_policy is None:
            await super().handle(scope, receive, send)
            return
        answer = await buffer_response(super().handle, scope, receive)
        principal = get_known_principal(scope)
        if answer.succeeded and principal is not None and not all(map(principal.may, self.read_scopes)):
            # A caller who may change but not read gets a confirmation without the resource.
            answer = BufferedResponse(204, [each for each in answer.headers if each[0] not in _ABOUT_BODY])
        elif self.etag_policy is not None:
            answer = add_etag(answer, self.etag_policy, scope)
        await answer.send(send)


class _Read(Request):
    """A request whose body was already read, with bytes and document where FastAPI expects them."""

    @classmethod
    async def of(cls, request: Request, body: bytes, *, required: bool, max_depth: int) -> "_Read":
        """Parse the body of a request, unless it is empty and optional.

        Args:
            request: the request.
            body: its body.
            required: whether the route requires a body.
            max_depth: maximum nesting.
        """
        read = cls(request.scope, request.receive)
        read._body = body
        if body or required:
            if len(body) > _PARSE_INLINE_BYTES:
                read._json = await asyncio.to_thread(_document, body, max_depth)
            else:
                read._json = _document(body, max_depth)
        return read


def requires_caller(dependant: Dependant) -> bool:
    """Return whether a route requires authentication."""
    return dependant.call is current_principal or any(map(requires_caller, dependant.dependencies))


def _shows(model: object) -> bool:
    return EtagPolicy.of(model) is not None or (isinstance(model, type) and issubclass(model, ResponseModel))


def _requirements(dependant: Dependant) -> Iterator[ScopeRequirement]:
    if isinstance(dependant.call, ScopeRequirement):
        yield dependant.call
    for each in dependant.dependencies:
        yield from _requirements(each)


def _document(body: bytes, max_depth: int) -> strict_json.Json:
    try:
        document = strict_json.parse_strict_json(body, max_depth=max_depth)
    except RejectedError as error:
        raise UnreadableBodyError(error.code, error.detail) from None
    check_body(document)
    return document


def check_media_type(request: Request, body: bytes, accepted: frozenset[str] = MEDIA_TYPES) -> None:
    """Reject a body that is not JSON in UTF-8 (UnreadableBodyError `unsupported_media_type`).

    A request without a body needs no content type: the missing body is the better error.
    """
    given = request.headers.get("content-type")
    if given is None and not body:
        return
    message = Message()
    message["content-type"] = given or ""
    charset = message.get_content_charset("utf-8")
    if given is None or message.get_content_type() not in accepted or charset not in _CHARSETS:
        raise UnreadableBodyError(
            "unsupported_media_type",
            f"The content type is {format_rejected_value(given) if given else 'missing'}: send "
            f"application/json in UTF-8",
        )


def read_content_encoding(request: Request) -> str:
    """Return the Content-Encoding of a request's body, in lower case; `identity` by default."""
    return request.headers.get("content-encoding", "").strip().lower() or "identity"


async def read_body(request: Request, *, most: int | None = None, encodings: Collection[str] = ()) -> bytes:
    """Read a body as it arrives, and stop as soon as it is too large.

    Args:
        request: The request.
        most: Maximum bytes, below `api.max_body_bytes`; None: only that setting applies.
        encodings: Values of Content-Encoding that the caller decodes, beside identity.

    Raises:
        UnreadableBodyError: `unsupported_encoding` for any other Content-Encoding, `body_too_large` above
            `most` or `api.max_body_bytes`, `body_too_slow` after `api.patience_s`.
    """
    encoding = read_content_encoding(request)
    if encoding != "identity" and encoding not in encodings:
        raise UnreadableBodyError(
            "unsupported_encoding",
            f"The content encoding {format_rejected_value(encoding)} is not supported. Send the "
            f"body uncompressed",
        )
    settings = get_resource(request.app, ApiSettings)
    most = settings.max_body_bytes if most is None else min(most, settings.max_body_bytes)
    announced = request.headers.get("content-length", "")
    if announced.isdecimal() and int(announced[:20]) > most:
        raise _too_large(most)
    body = bytearray()
    try:
        async with asyncio.timeout(settings.patience_s), aclosing(request.stream()) as stream:
            async for chunk in stream:
                body += chunk
                if len(body) > most:
                    raise _too_large(most)
    except TimeoutError:
        raise UnreadableBodyError(
            "body_too_slow",
            f"Only {len(body)} bytes of the body arrived within {settings.patience_s:g} s: send it in parts",
        ) from None
    return bytes(body)


def _too_large(most: int) -> UnreadableBodyError:
    return UnreadableBodyError("body_too_large", f"The body is larger than {most} bytes. Send it in parts")


ANONYMOUS_BODY_MAX: Final = 16_384
"""Bytes; a box with the longest names needs a tenth of it."""


class AnonymousRoute(StrictRoute):
    """A strict route that limits the body to `ANONYMOUS_BODY_MAX` bytes, below `api.max_body_bytes`."""

    max_body = ANONYMOUS_BODY_MAX


class AccountRoute(StrictRoute):
    """A strict route of the caller's own account, such as the enrolment of a second factor."""

    open_without_second_factor = True
