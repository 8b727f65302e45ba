"""Finds the values of a batch that are older than the newest stored value of their metric. Pure.

Late values are stored, with a bit each in `samples.late`; rules do not evaluate them.
"""

from collections.abc import Collection, Mapping, Sequence

from app.catalogue.metrics import COLUMNS
from app.timeseries.storage.latest_values import LatestValues
from app.timeseries.storage.sample_writer import SampleRow


def find_late_values(
    rows: Sequence[SampleRow], old: Collection[int], known: Mapping[int, LatestValues]
) -> dict[int, int]:
    """Find the late values among samples.

    Args:
        rows: samples, in their order of arrival.
        old: indexes of samples whose identity is stored already; they change nothing.
        known: box key → its latest values before these samples.

    Returns:
        Index → bitmask of its late metrics, by their index in COLUMNS; only samples that have some.
    """
    newest = {
        key: {name: int(time_us) for name, (_, time_us) in latest.items()} for key, latest in known.items()
    }
    found: dict[int, int] = {}
    seen: set[tuple[int, int]] = set()
    for index, (key, time_us, _, values) in enumerate(rows):
        if index in old or (key, time_us) in seen:
            continue
        seen.add((key, time_us))
        of_box = newest.setdefault(key, {})
        bits = 0
        for column, value in enumerate(values):
            if value is None:
                continue
            name = COLUMNS[column]
            if name in of_box and time_us <= of_box[name]:
                bits |= 1 << column
            else:
                of_box[name] = time_us
        if bits:
            found[index] = bits
    return found
