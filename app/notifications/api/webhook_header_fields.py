"""Validates the custom headers that a client sets for a webhook.

Refuses headers that Vigie sets itself, that belong to the connection, or that change how the body is read:
the receiver would not get the request that was signed.
"""

import re
from typing import Annotated, Final

from pydantic import AfterValidator, Field, WithJsonSchema

from app.platform.http.contract.fields import limit_field_count
from app.platform.http.contract.problems import CodedValueError
from app.platform.kernel.rejection_codes import format_rejected_value

HEADERS_LIMIT: Final = 20
NAME_LIMIT: Final = 100
VALUE_LIMIT: Final = 1000

MASKED: Final = "…"
"""Replaces a header's value in responses."""

# RFC 9110, section 5.6.2: a token.
_NAME_PATTERN: Final = rf"^[!#$%&'*+.^_`|~0-9A-Za-z-]{{1,{NAME_LIMIT}}}$"
_VALUE_PATTERN: Final = r"^([\x21-\x7e]([\t\x20-\x7e]*[\x21-\x7e])?)?$"
_NAME: Final = re.compile(rf"[!#$%&'*+.^_`|~0-9A-Za-z-]{{1,{NAME_LIMIT}}}")
_VALUE: Final = re.compile(rf"[\t\x20-\x7e]{{0,{VALUE_LIMIT}}}")
_RESERVED: Final = frozenset(
    {
        "connection",
        "content-encoding",
        "content-length",
        "content-type",
        "expect",
        "host",
        "keep-alive",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "user-agent",
    }
)
_RESERVED_PREFIXES: Final = ("accept", "proxy-", "webhook-")


def _normalise_name(name: str) -> str:
    """Normalise a name as many receivers do: CGI and WSGI variables do not distinguish `-` from `_`."""
    return name.lower().replace("_", "-")


def _check_header(name: str, value: str) -> None:
    if _NAME.fullmatch(name) is None:
        raise CodedValueError(
            "invalid_header",
            f"{format_rejected_value(name)} is not a header's name. Use letters, digits, - and _, at most "
            "100",
        )
    lower = _normalise_name(name)
    if lower in _RESERVED or lower.startswith(_RESERVED_PREFIXES):
        raise CodedValueError(
            "invalid_header", f"{name} cannot be set: Vigie sets it, or it belongs to the connection"
        )
    # The error does not show the value: it may be a password.
    if _VALUE.fullmatch(value) is None or value != value.strip(" \t"):
        raise CodedValueError(
            "invalid_header",
            f"The value of {name} has to be visible ASCII, spaces and tabs, without spaces and tabs at its "
            f"ends, and at most {VALUE_LIMIT} characters",
        )


def _check_headers(headers: dict[str, str]) -> dict[str, str]:
    seen: set[str] = set()
    for name, value in headers.items():
        _check_header(name, value)
        if _normalise_name(name) in seen:
            raise CodedValueError(
                "invalid_header", f"{name} is given twice: names differ neither by case nor by - and _"
            )
        seen.add(_normalise_name(name))
    return headers


Headers = Annotated[
    dict[str, str],
    AfterValidator(_check_headers),
    limit_field_count(HEADERS_LIMIT, "headers", "invalid_header"),
    WithJsonSchema(
        {
            "type": "object",
            "maxProperties": HEADERS_LIMIT,
            "propertyNames": {"type": "string", "pattern": _NAME_PATTERN},
            "additionalProperties": {"type": "string", "maxLength": VALUE_LIMIT, "pattern": _VALUE_PATTERN},
        }
    ),
    Field(
        description="Your own headers for each POST, such as a gateway's `Authorization`; null: none. "
        f"Stored encrypted; responses show `{MASKED}` for the values",
        examples=[{"Authorization": "Bearer example"}],
    ),
]
"""Custom headers by name (`invalid_header`)."""
