"""Checks the fields of a parsed message, and refuses invalid values with a rejection code.

The checks do not depend on the kind of message.
"""

import unicodedata
from collections.abc import Collection
from typing import Final

from app.platform.kernel.instants import (
    MAX_INTEGER,
    US_PER_S,
    check_range,
    format_us,
    parse_epoch_ms,
    parse_rfc3339,
)
from app.platform.kernel.rejection_codes import RejectedError, format_rejected_value
from app.platform.kernel.strict_json import MAX_TEXT, Json

# Control, format (zero-width, bidirectional), private and unassigned characters, line and paragraph
# separators.
_UNWANTED: Final = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})


def require_object(value: Json, where: str) -> dict[str, Json]:
    """Return an object (`wrong_type` for anything else)."""
    if not isinstance(value, dict):
        raise RejectedError("wrong_type", f"{where} is {format_rejected_value(value)}: an object is expected")
    return value


def require_array(value: Json, where: str) -> list[Json]:
    """Return an array (`wrong_type` for anything else)."""
    if not isinstance(value, list):
        raise RejectedError("wrong_type", f"{where} is {format_rejected_value(value)}: an array is expected")
    return value


def check_keys(
    found: dict[str, Json], required: Collection[str], allowed: Collection[str], where: str
) -> None:
    """Refuse unknown and missing fields (`unknown_field`, `missing_field`).

    Args:
        found: The object.
        required: The fields that it must have.
        allowed: The fields that it may have.
        where: The name of the object in the rejection detail.
    """
    for key in found:
        if key not in allowed:
            raise RejectedError(
                "unknown_field", f"{where} has no field {format_rejected_value(key)}: {', '.join(allowed)}"
            )
    for key in required:
        if key not in found:
            raise RejectedError("missing_field", f"{where} has no {key}")


def require_number(value: Json, where: str, minimum: float, maximum: float, unit: str = "") -> float:
    """Return a number within bounds as a float. The sign of -0.0 is preserved.

    Args:
        value: The value of the field.
        where: The name of the field in the rejection detail.
        minimum: The lowest accepted value.
        maximum: The highest accepted value.
        unit: The unit of the bounds in the rejection detail.

    Raises:
        RejectedError: `wrong_type`, `integer_too_large` (above 2^53, where doubles skip integers) or
            `value_out_of_bounds`.
    """
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise RejectedError("wrong_type", f"{where} is {format_rejected_value(value)}: a number is expected")
    if isinstance(value, int) and abs(value) > MAX_INTEGER:
        raise RejectedError(
            "integer_too_large",
            f"{where} is {format_rejected_value(value)}: integers above 2^53 are not accepted",
        )
    if not minimum <= value <= maximum:
        bounds = f"{minimum:.12g} to {maximum:.12g} {unit}".rstrip()
        raise RejectedError(
            "value_out_of_bounds", f"{where} is {format_rejected_value(value)}: the allowed range is {bounds}"
        )
    return float(value)


def require_integer(value: Json, where: str) -> int:
    """Return an integer of 0 to 2^53 (else `wrong_type`, `integer_too_large` or `value_out_of_bounds`)."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise RejectedError(
            "wrong_type", f"{where} is {format_rejected_value(value)}: an integer is expected"
        )
    if abs(value) > MAX_INTEGER:
        raise RejectedError(
            "integer_too_large",
            f"{where} is {format_rejected_value(value)}: integers above 2^53 are not accepted",
        )
    if value < 0:
        raise RejectedError("value_out_of_bounds", f"{where} is {value}: it must not be negative")
    return value


def require_text(value: Json, where: str, max_text: int = MAX_TEXT) -> str:
    """Return a printable text of at least one character.

    Raises:
        RejectedError: `wrong_type`, `nul_in_text`, `text_too_long`; `invalid_text` for a text that is empty,
            not in normal form C, or has control or invisible characters.
    """
    if not isinstance(value, str):
        raise RejectedError("wrong_type", f"{where} is {format_rejected_value(value)}: a string is expected")
    if "\0" in value:
        raise RejectedError("nul_in_text", f"{where} holds a NUL character")
    if len(value) > max_text:
        raise RejectedError(
            "text_too_long", f"{where} has {len(value)} characters: at most {max_text} are accepted"
        )
    if not value:
        raise RejectedError("invalid_text", f"{where} is empty")
    if not unicodedata.is_normalized("NFC", value):
        raise RejectedError("invalid_text", f"{where} {format_rejected_value(value)} is not in normal form C")
    if any(unicodedata.category(character) in _UNWANTED for character in value):
        raise RejectedError(
            "invalid_text", f"{where} {format_rejected_value(value)} holds control or invisible characters"
        )
    return value


def extract_seq(value: Json) -> int | None:
    """Return the valid `seq` of a refused sample or event, or None."""
    seq = value.get("seq") if isinstance(value, dict) else None
    if isinstance(seq, int) and not isinstance(seq, bool) and 0 <= seq <= MAX_INTEGER:
        return seq
    return None


def require_instant(value: Json, now_us: int, max_future_us: int) -> int:
    """Return the field `time` as microseconds since the epoch: RFC 3339, or an integer of milliseconds.

    Raises:
        RejectedError: `wrong_type`, `invalid_time`, `time_without_zone`, `time_out_of_range`,
            `integer_too_large` or `time_in_future`.
    """
    if isinstance(value, str):
        time_us = parse_rfc3339(value)
        check_range(time_us)
    elif isinstance(value, int) and not isinstance(value, bool):
        time_us = parse_epoch_ms(value)
    else:
        raise RejectedError(
            "wrong_type",
            f"time is {format_rejected_value(value)}: RFC 3339 or an integer of milliseconds is expected",
        )
    return require_not_future(time_us, now_us, max_future_us)


def require_not_future(time_us: int, now_us: int, max_future_us: int) -> int:
    """Return an instant (µs since the epoch) unless it is too far in the future (`time_in_future`)."""
    if time_us > now_us + max_future_us:
        raise RejectedError(
            "time_in_future",
            f"time {format_us(time_us)} is {(time_us - now_us) // US_PER_S} s in the future",
        )
    return time_us
