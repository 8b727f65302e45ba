"""The steps for what was refused: most of it is quarantined; some may only ever be counted.

Owns what of a refusal is kept. What `app.core.reasons.NEVER_KEPT` names leaves a count behind and nothing
else, whichever step or codec refused it. Must not judge anything: what is refused, and why, is settled when
these steps begin.
"""

from collections import Counter

from app.core.reasons import NEVER_KEPT
from app.ingest.intake import Turned
from app.ingest.work import Work
from app.observations.quarantine import Refused, quarantine
from app.sites.door_refusals import DoorRefusal, add_door_refusals


async def quarantine_refused(work: Work) -> None:
    """Store what was refused and may be kept, so that it can be looked at, mended and replayed."""
    refused = []
    for turned in work.turned:
        if turned.rejection.code in NEVER_KEPT:
            continue
        box = None if turned.box is None else work.find(turned.box)
        refused.append(
            Refused(
                work.organisation_id if box is None else box.organisation_id,
                turned.box,
                turned.rejection.code,
                turned.rejection.detail,
                work.intake.messages[turned.origin].topic,
                turned.part,
            )
        )
    await quarantine(work.connection, refused, door=work.intake.door, now=work.now)


async def count_refused(work: Work) -> None:
    """Count what may not be kept, by whose it was, its code and its purpose."""
    counts: Counter[DoorRefusal] = Counter(
        _counted(work, turned) for turned in work.turned if turned.rejection.code in NEVER_KEPT
    )
    await add_door_refusals(work.connection, counts, door=work.intake.door, now=work.now)


def _counted(work: Work, turned: Turned) -> DoorRefusal:
    rejection = turned.rejection
    box = None if turned.box is None else work.find(turned.box)
    if box is None:
        return DoorRefusal(work.organisation_id, None, rejection.code, rejection.purpose)
    return DoorRefusal(box.organisation_id, box.site_id, rejection.code, rejection.purpose)
