"""The headers of one's own that a webhook may have with each POST. Shapes only.

Owns which names and values are taken. What is ours, what belongs to the connection, and what would change how
the body is read is refused: such a request would not be the one that was signed.
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
"""What answers show of a value."""

# RFC 9110, section 5.6.2: a token.
_NAME_PATTERN: Final = rf"^[!#$%&'*+.^_`|~0-9A-Za-z-]{{1,{NAME_LIMIT}}}$"
_VALUE_PATTERN: Final = r"^([\x21-\x7e]([\t\x20-\x7e]*[\x21-\x7e])?)?$"
_NAME: Final = re.compile(rf"[!#$%&'*+.^_`|~0-9A-Za-z-]{{1,{NAME_LIMIT}}}")
_VALUE: Final = re.compile(rf"[\t\x20-\x7e]{{0,{VALUE_LIMIT}}}")
_OURS: Final = frozenset(
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
_OUR_PREFIXES: Final = ("accept", "proxy-", "webhook-")


def _read(name: str) -> str:
    """A name as many receivers read it: as a variable (CGI, WSGI), in which `-` and `_` are the same."""
    return name.lower().replace("_", "-")


def _check_header(name: str, value: str) -> None:
    if _NAME.fullmatch(name) is None:
        raise CodedValueError(
            "invalid_header",
            f"{format_rejected_value(name)} is not a header's name: letters, digits, - and _, at most 100",
        )
    lower = _read(name)
    if lower in _OURS or lower.startswith(_OUR_PREFIXES):
        raise CodedValueError("invalid_header", f"{name} is Vigie's own to set, or belongs to the connection")
    # The value is not shown: it may be a password.
    if _VALUE.fullmatch(value) is None or value != value.strip(" \t"):
        raise CodedValueError(
            "invalid_header",
            f"The value of {name} has to be visible ASCII, spaces and tabs, none of these at its ends, and "
            f"at most {VALUE_LIMIT} characters",
        )


def _check_headers(headers: dict[str, str]) -> dict[str, str]:
    seen: set[str] = set()
    for name, value in headers.items():
        _check_header(name, value)
        if _read(name) in seen:
            raise CodedValueError(
                "invalid_header", f"{name} stands twice: neither case nor - and _ tell headers apart"
            )
        seen.add(_read(name))
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
        description="Headers of your own for each POST, such as a gateway's `Authorization`; null: none. "
        f"Stored sealed; answers show `{MASKED}` for the values",
        examples=[{"Authorization": "Bearer example"}],
    ),
]
"""Names and values; `invalid_header` where one is not taken."""
