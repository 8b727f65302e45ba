"""Recognises arrays of numbers that could be samples of sound or pixels, and positions and ids. Pure."""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Final

from app.platform.content_policy import encoded_media_detection as runs

_NUMBER: Final = re.compile(r"\s*[-+]?[0-9]+(?:\.[0-9]*)?(?:[eE][-+]?[0-9]+)?\s*")
_EUI: Final = re.compile(r"[0-9A-Fa-f]{16}")
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


@dataclass(slots=True)
class NumberArray:
    """The numbers of an array and of the arrays in it: rows of pixels count together.

    Attributes:
        path: its path in the document.
        numbers: the numbers that were found so far.
    """

    path: str
    numbers: int = 0


def is_number(item: object) -> bool:
    """Return whether an item of an array is a number, or a text that is one."""
    if isinstance(item, str):
        return _NUMBER.fullmatch(item) is not None
    return isinstance(item, int | float) and not isinstance(item, bool)


def are_euis(items: Collection[Any]) -> bool:
    """Return whether all ids of boxes are LoRaWAN addresses, whose many digits are no encoded bytes."""
    return all(isinstance(item, str) and _EUI.fullmatch(item) for item in items)


def is_numbered(found: Mapping[Any, Any]) -> bool:
    """Return whether a mapping is an array in disguise: many numbers under `"0"`, `"1"` or `v0`, `v1`."""
    if len(found) <= runs.NUMBERS_LIMIT:
        return False
    numbers = [key for key, value in found.items() if isinstance(value, int | float | list | tuple | str)]
    stems = {key.rstrip("0123456789.") if isinstance(key, str) else "" for key in numbers}
    return len(numbers) > runs.NUMBERS_LIMIT and len(stems) * 8 < len(numbers)
