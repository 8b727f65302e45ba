"""Recognises arrays of numbers that could be samples of sound or pixels, and positions in them. Pure."""

import re
from collections.abc import Collection, Mapping
from typing import Any, Final

from app.platform.content_policy import encoded_media_detection as runs

_NUMBER: Final = re.compile(r"\s*[-+]?[0-9]+(?:\.[0-9]*)?(?:[eE][-+]?[0-9]+)?\s*")
_POINT: Final = ("type", "coordinates")
_EARTH: Final = (180, 90)  # longitude and latitude, at most


def is_position(found: Mapping[Any, Any]) -> bool:
    """Return whether a mapping is a GeoJSON point on the earth, and nothing more."""
    coordinates = found.get("coordinates")
    return (
        len(found) == len(_POINT)
        and found.get("type") == "Point"
        and isinstance(coordinates, list)
        and len(coordinates) == len(_EARTH)
        and all(
            isinstance(each, int | float) and not isinstance(each, bool) and abs(each) <= most
            for each, most in zip(coordinates, _EARTH, strict=True)
        )
    )


def count_numbers(items: Collection[Any]) -> int:
    """Count numbers in an array and in its arrays: rows of pixels count together."""
    count = 0
    for item in items:
        if (isinstance(item, int | float) and not isinstance(item, bool)) or (
            isinstance(item, str) and _NUMBER.fullmatch(item)
        ):
            count += 1
        elif isinstance(item, list | tuple):
            count += count_numbers(item)
        if count > runs.NUMBERS_LIMIT:
            break
    return count


def is_numbered(found: Mapping[Any, Any]) -> bool:
    """Return whether a mapping is an array in disguise: many numbers under `"0"`, `"1"` or `v0`, `v1`."""
    if len(found) <= runs.NUMBERS_LIMIT:
        return False
    numbers = [key for key, value in found.items() if isinstance(value, int | float | list | tuple | str)]
    stems = {key.rstrip("0123456789.") if isinstance(key, str) else "" for key in numbers}
    return len(numbers) > runs.NUMBERS_LIMIT and len(stems) * 8 < len(numbers)
