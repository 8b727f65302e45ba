"""`ETag`, `If-None-Match` and `If-Match` (RFC 9110): what a resource is like, told by a hash.

A tag has one part or two. The first is a hash of what only a change of the resource itself alters: changes
go by it (`If-Match`). What moves by itself, such as a box's battery, is in the second, a hash of all that is
shown: reads go by the whole (`If-None-Match`). Both are of the representation as GET gives it, in a canonical
form, wherever it is computed: of an answer's bytes, or of a locked row.
"""

import base64
import hashlib
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import UnionType
from typing import Annotated, Any, ClassVar, Final, TypeAliasType, Union, get_args, get_origin

from fastapi import Depends, Header
from pydantic import BaseModel
from starlette.datastructures import Headers
from starlette.types import Scope

from app.platform.http.contract.buffered_response import BufferedResponse
from app.platform.kernel.errors import VigieError

ETAG: Final = "ETag"
IF_MATCH: Final = "If-Match"
IF_NONE_MATCH: Final = "If-None-Match"
_TAG: Final = re.compile(r'(W/)?"([^"]*)"')
_ANY: Final = "*"
_DIGEST_BYTES: Final = 16
_SHOWN: Final = frozenset({200, 201})
# What a 304 says of the answer that it stands for.
_ABOUT: Final = frozenset({b"etag", b"cache-control", b"vary", b"date", b"content-location", b"expires"})


class ResponseModel(BaseModel):
    """A thing as whoever may read it is shown it, with what others wrote."""


class ResourceModel(ResponseModel):
    """A thing of its own, as it is shown: its answers have an ETag.

    Attributes:
        volatile: fields that change by themselves: with time, with what a box sends, with use.
        once: fields of the answer that made it, and of no other.
    """

    volatile: ClassVar[frozenset[str]] = frozenset()
    once: ClassVar[frozenset[str]] = frozenset()


class PreconditionFailedError(VigieError):
    """The resource is not any more what the client has seen."""

    status = 412
    code = "precondition_failed"


@dataclass(frozen=True, slots=True)
class EtagPolicy:
    """How tags of a kind of resource are made; the attributes are those of `ResourceModel`."""

    volatile: frozenset[str]
    once: frozenset[str]

    @classmethod
    def of(cls, model: object) -> "EtagPolicy | None":
        """The shape of a model, or of a choice of models; None where it is not of resources alone."""
        if isinstance(model, TypeAliasType):
            return cls.of(model.__value__)
        if get_origin(model) is Annotated:
            return cls.of(get_args(model)[0])
        if get_origin(model) in {Union, UnionType}:
            shapes = [cls.of(each) for each in get_args(model)]
            known = [shape for shape in shapes if shape is not None]
            if len(known) < len(shapes):
                return None
            return cls(
                frozenset().union(*(shape.volatile for shape in known)),
                frozenset().union(*(shape.once for shape in known)),
            )
        if isinstance(model, type) and issubclass(model, ResourceModel):
            return cls(model.volatile, model.once)
        return None

    def tag(self, document: Mapping[str, Any]) -> str:
        """The entity tag of a representation, without its quotes."""
        shown = {name: value for name, value in document.items() if name not in self.once}
        steady = _digest({name: value for name, value in shown.items() if name not in self.volatile})
        return f"{steady}.{_digest(shown)}" if self.volatile else steady


def _digest(document: Mapping[str, Any]) -> str:
    canonical = json.dumps(document, sort_keys=True, separators=(",", ":"))
    short = hashlib.sha256(canonical.encode()).digest()[:_DIGEST_BYTES]
    return base64.urlsafe_b64encode(short).decode().rstrip("=")


def add_etag(answer: BufferedResponse, shape: EtagPolicy, scope: Scope) -> BufferedResponse:
    """An answer with its ETag; to a GET of what the client has already, 304."""
    if answer.status not in _SHOWN or not answer.header(b"content-type").startswith(b"application/json"):
        return answer
    tag = shape.tag(json.loads(answer.body))
    headers = [*answer.headers, (b"etag", f'"{tag}"'.encode())]
    given = ",".join(Headers(scope=scope).getlist(IF_NONE_MATCH))
    if scope["method"] == "GET" and _names(given, tag):
        return BufferedResponse(304, [each for each in headers if each[0] in _ABOUT])
    return BufferedResponse(answer.status, headers, answer.body)


def _names(given: str, tag: str) -> bool:
    """Whether an `If-None-Match` names a tag; weak ones count (RFC 9110, 13.1.2)."""
    return given.strip() == _ANY or any(each == tag for _, each in _TAG.findall(given))


class IfMatchPrecondition:
    """What a change depends on: nothing, or that the resource is as the client has seen it.

    Args:
        if_match: the header; None where there is none.
    """

    def __init__(self, if_match: str | None) -> None:
        self._anything = if_match is None or if_match.strip() == _ANY
        # Weak tags never match (RFC 9110, 13.1.1).
        self._wanted = {tag.partition(".")[0] for weak, tag in _TAG.findall(if_match or "") if not weak}

    def check(self, shown: ResourceModel) -> None:
        """Compare with a row that was locked, and is not changed yet.

        Raises:
            PreconditionFailedError: It is another one than the client has seen.
        """
        if self._anything:
            return
        shape = EtagPolicy(shown.volatile, shown.once)
        steady = replace(shape, once=shape.once | shape.volatile, volatile=frozenset())
        if steady.tag(shown.model_dump(mode="json", by_alias=True)) not in self._wanted:
            raise PreconditionFailedError(
                "It was changed since you read it: read it again, and decide anew what to change."
            )

    def on[T](self, shown: Callable[[T], ResourceModel]) -> Callable[[T], None]:
        """The check as services take it: of a row, which is shown so."""

        def check(row: T) -> None:
            if not self._anything:
                self.check(shown(row))

        return check


async def _precondition(
    if_match: Annotated[
        str | None,
        Header(alias=IF_MATCH, description="ETags: carried out only if the resource still has one of them"),
    ] = None,
) -> IfMatchPrecondition:
    return IfMatchPrecondition(if_match)


PreconditionDep = Annotated[IfMatchPrecondition, Depends(_precondition)]


def skip_precondition(_: object) -> None:
    """The check of whoever does not care what was there before."""
