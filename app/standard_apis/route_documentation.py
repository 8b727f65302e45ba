"""Documents routes of other standards: optional keys, query parameters, responses of JSON."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from fastapi import Query

from app.platform.http.contract.problems import document_problems

OPTIONAL_KEY: Final[dict[str, Any]] = {"security": [{}]}
"""`openapi_extra` of routes that answer with a key, or without one."""


def declare_parameter(name: str, description: str, example: str, *, longest: int | None = None) -> Any:  # noqa: ANN401 (FastAPI's)
    """Declare a query parameter of `longest` characters at most, which is parsed by hand: a fault is 400."""
    return Query(alias=name, max_length=longest, description=description, examples=[example])


def document_json(
    example: Mapping[str, Any] | Sequence[Any],
    *problems: int,
    media_types: Sequence[str],
    status_code: int = 200,
) -> dict[int | str, dict[str, Any]]:
    """Document a response of JSON by an example, and its problems; 401 and 403 are always among them."""
    content = {
        media_type: {"schema": _build_schema(example), "example": example} for media_type in media_types
    }
    return {status_code: {"content": content}, **document_problems(401, 403, *problems)}


def _build_schema(example: Mapping[str, Any] | Sequence[Any]) -> dict[str, Any]:
    members = {"type": "object", "additionalProperties": True}
    return members if isinstance(example, Mapping) else {"type": "array", "items": members}
