"""How much of a batch is judged in one transaction: as many rules as are looked at, not only as many samples.

A batch of a site with hundreds of windows takes a thousand times as long as one without. Meanwhile nobody can
change a rule, and after half a minute the database would end the transaction, for ever the same one.
"""

from typing import Final

from app.ingest.intake import Intake
from app.ingest.registry import Edition

# Parts of conditions that are looked at, some 5 µs each.
_ENOUGH: Final = 200_000
# Beside others in one process, such as the calls of an API.
LONG: Final = 2_000

_SAMPLES, _EVENTS = 0, 1


def portion(intake: Intake, edition: Edition) -> tuple[int, int]:
    """How many things of a batch, in the order of arrival, are enough for one transaction, but at least one.

    Returns:
        Their number, and about how many parts of conditions are looked at for them.
    """
    ids = set(intake.boxes).union(box_id for box_id, _, _ in intake.events)
    boxes = [box for box_id in ids if (box := edition.boxes.get(box_id)) is not None]
    efforts = [rules.effort for rules in edition.rules_of_each(boxes)]
    total = len(intake)
    heaviest = max(efforts, default=0) * (len(intake.boxes) + len(intake.events))
    if heaviest <= _ENOUGH:
        return total, heaviest
    by_box = {box.id: effort for box, effort in zip(boxes, efforts, strict=True)}
    spent = 0
    for count, (_, kind, place) in enumerate(intake.arrivals()):
        if kind == _SAMPLES:
            more = by_box.get(intake.boxes[place], 0)
        else:
            more = by_box.get(intake.events[place][0], 0) if kind == _EVENTS else 0
        if spent + more > _ENOUGH and count:
            return count, spent
        spent += more
    return total, spent
