"""Implements `ETag`, `If-None-Match` and `If-Match` (RFC 9110) with hashes of resources.

A tag has one part or two. The first is a hash of the fields that only a change of the resource alters;
`If-Match` compares it. The second, for resources with fields that change by themselves, such as a box's
battery, is a hash of all fields; `If-None-Match` compares the whole tag. Both hash the representation that
GET returns, in a canonical form, from a response's bytes or from a locked row.
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
# Headers of the full response that a 304 repeats.
_ABOUT: Final = frozenset({b"etag", b"cache-control", b"vary", b"date", b"content-location", b"expires"})


class ResponseModel(BaseModel):
    """A response with content that others wrote: callers without the read scope do not get it."""


class ResourceModel(ResponseModel):
    """A resource with an identity: its responses have an ETag.

    Attributes:
        volatile: fields that change by themselves: with time, with a box's messages, with use.
        once: fields that only the response to the creation contains.
    """

    volatile: ClassVar[frozenset[str]] = frozenset()
    once: ClassVar[frozenset[str]] = frozenset()


class PreconditionFailedError(VigieError):
    """The resource changed since the client read it."""

    status = 412
    code = "precondition_failed"


@dataclass(frozen=True, slots=True)
class EtagPolicy:
    """How to compute the tags of a kind of resource; the attributes are those of `ResourceModel`."""

    volatile: frozenset[str]
    once: frozenset[str]

    @classmethod
    def of(cls, model: object) -> "EtagPolicy | None":
        """Return the policy of a model, or of a union of models; None unless all are resources."""
        if isinstance(model, TypeAliasType):
            return cls.of(model.__value__)
        if get_origin(model) is Annotated:
            return cls.of(get_args(model)[0])
        if get_origin(model) in {Union, UnionType}:
            policies = [cls.of(each) for each in get_args(model)]
            known = [policy for policy in policies if policy is not None]
            if len(known) < len(policies):
                return None
            return cls(
                frozenset().union(*(policy.volatile for policy in known)),
                frozenset().union(*(policy.once for policy in known)),
            )
        if isinstance(model, type) and issubclass(model, ResourceModel):
            return cls(model.volatile, model.once)
        return None

    def tag(self, document: Mapping[str, Any]) -> str:
        """Return the entity tag of a representation, without its quotes."""
        shown = {name: value for name, value in document.items() if name not in self.once}
        steady = _digest({name: value for name, value in shown.items() if name not in self.volatile})
        return f"{steady}.{_digest(shown)}" if self.volatile else steady


def _digest(document: Mapping[str, Any]) -> str:
    canonical = json.dumps(document, sort_keys=True, separators=(",", ":"))
    short = hashlib.sha256(canonical.encode()).digest()[:_DIGEST_BYTES]
    return base64.urlsafe_b64encode(short).decode().rstrip("=")


def add_etag(response: BufferedResponse, policy: EtagPolicy, scope: Scope) -> BufferedResponse:
    """Add the ETag to a response; answer 304 to a GET whose `If-None-Match` names it."""
    if response.status not in _SHOWN or not response.header(b"content-type").startswith(b"application/json"):
        return response
    tag = policy.tag(json.loads(response.body))
    headers = [*response.headers, (b"etag", f'"{tag}"'.encode())]
    given = ",".join(Headers(scope=scope).getlist(IF_NONE_MATCH))
    if scope["method"] == "GET" and _names(given, tag):
        return BufferedResponse(304, [each for each in headers if each[0] in _ABOUT])
    return BufferedResponse(response.status, headers, response.body)


def _names(given: str, tag: str) -> bool:
    """Return whether an `If-None-Match` names a tag; weak tags count (RFC 9110, 13.1.2)."""
    return given.strip() == _ANY or any(each == tag for _, each in _TAG.findall(given))


class IfMatchPrecondition:
    """The precondition of a change: none, or that the resource is as the client read it.

    Args:
        if_match: the header; None where there is none.
    """

    def __init__(self, if_match: str | None) -> None:
        self._anything = if_match is None or if_match.strip() == _ANY
        # Weak tags never match (RFC 9110, 13.1.1).
        self._expected = {tag.partition(".")[0] for weak, tag in _TAG.findall(if_match or "") if not weak}

    def check(self, shown: ResourceModel) -> None:
        """Compare with a row that is locked and not changed yet.

        Raises:
            PreconditionFailedError: It changed since the client read it.
        """
        if self._anything:
            return
        policy = EtagPolicy(shown.volatile, shown.once)
        steady = replace(policy, once=policy.once | policy.volatile, volatile=frozenset())
        if steady.tag(shown.model_dump(mode="json", by_alias=True)) not in self._expected:
            raise PreconditionFailedError(
                "It changed since you read it. Read it again, then decide what to change."
            )

    def on[T](self, shown: Callable[[T], ResourceModel]) -> Callable[[T], None]:
        """Return the check in the form that services take: of a row, which `shown` represents."""

        def check(row: T) -> None:
            if not self._anything:
                self.check(shown(row))

        return check


async def _precondition(
    if_match: Annotated[
        str | None,
        Header(
            alias=IF_MATCH, description="ETags: the change happens only if the resource still has one of them"
        ),
    ] = None,
) -> IfMatchPrecondition:
    return IfMatchPrecondition(if_match)


PreconditionDep = Annotated[IfMatchPrecondition, Depends(_precondition)]


def skip_precondition(_: object) -> None:
    """Check nothing, for callers without a precondition."""
