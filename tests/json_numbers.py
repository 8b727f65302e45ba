"""Finds numbers in JSON."""

import json


def numbers_in(text: str) -> set[float]:
    """Return each number of a JSON document: digits of a time or of an ID are none."""
    numbers: set[float] = set()

    def keep(literal: str) -> float:
        numbers.add(float(literal))
        return float(literal)

    json.loads(text, parse_float=keep, parse_int=keep)
    return numbers
