"""Compares the firmware versions of boxes with a version of digits and dots, in SQL.

A firmware is comparable if it begins with numbers and dots, such as `2.3.1`, `v2.3` or `2.4.0-rc1`. Numbers
are compared one by one and missing ones are 0, so `2.10` is above `2.9`, and `2.4` equals `2.4.0`. A text
after the numbers makes a pre-release, below the version itself, as in Semantic Versioning. After `+` or a
space it has no effect.
"""

import re
from typing import Annotated, Any, Final

from pydantic import AfterValidator, WithJsonSchema
from sqlalchemy import ARRAY, ColumnElement, Numeric, and_, cast, func, literal, or_

from app.platform.http.contract.problems import CodedValueError
from app.platform.kernel.rejection_codes import format_rejected_value
from app.registry.models import Box

_PATTERN: Final = r"^[0-9]{1,9}(\.[0-9]{1,9}){0,7}$"
_VERSION: Final = re.compile(r"[0-9]{1,9}(\.[0-9]{1,9}){0,7}")
_NUMBERS: Final = r"^[vV]?([0-9]+(?:\.[0-9]+)*)"
_RELEASE: Final = r"^[vV]?[0-9]+(\.[0-9]+)*($|[+ ])"
_TRAILING_ZEROS: Final = r"(\.0+)+$"

FROM_VERSION: Final = "Only boxes with this firmware version or a later one, such as 2.4.0"
BELOW_VERSION: Final = "Only boxes with a firmware below this version; pre-releases of it are below it"
COMPARABLE: Final = "True: only boxes whose firmware begins with a version number; false: only the others"


def check_version(value: str) -> str:
    """Check a version to compare with (CodedValueError `invalid_version`)."""
    if _VERSION.fullmatch(value) is None:
        raise CodedValueError(
            "invalid_version",
            f"{format_rejected_value(value)}: give one to eight numbers with dots, such as 2.4.0",
        )
    return value


FirmwareVersion = Annotated[
    str,
    AfterValidator(check_version),
    WithJsonSchema({"type": "string", "pattern": _PATTERN, "maxLength": 79, "examples": ["2.4.0"]}),
]


def select_is_comparable() -> ColumnElement[bool]:
    """Return SQL of whether a box reported a comparable firmware."""
    return func.coalesce(Box.firmware.regexp_match(_NUMBERS), literal(value=False))


def is_below(version: str) -> ColumnElement[bool]:
    """Return the condition that a box reported a firmware below a version."""
    # Without an index: 10,000 boxes take 90 ms, and an index would cost each status that a box reports.
    numbers, bound = _select_numbers(), _bind_numbers(version)
    is_release = Box.firmware.regexp_match(_RELEASE)
    return or_(numbers < bound, and_(numbers == bound, ~is_release))


def is_at_least(version: str) -> ColumnElement[bool]:
    """Return the condition that a box reported this version of a firmware, or a later one."""
    return ~is_below(version)


def _select_numbers() -> ColumnElement[Any]:
    found = func.substring(Box.firmware, _NUMBERS)
    # PostgreSQL counts a shorter array as smaller, so zeros at the end would make a difference.
    numbers = func.string_to_array(func.regexp_replace(found, _TRAILING_ZEROS, ""), ".")
    return cast(numbers, ARRAY(Numeric))


def _bind_numbers(version: str) -> ColumnElement[Any]:
    numbers = [int(number) for number in version.split(".")]
    while len(numbers) > 1 and numbers[-1] == 0:
        numbers.pop()
    return literal(numbers, ARRAY(Numeric))
