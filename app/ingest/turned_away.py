"""The steps for what was refused: most of it is quarantined; some may only ever be counted.

Owns what of a refusal is kept. What `app.core.reasons.NEVER_KEPT` names leaves a count behind and nothing
else, whichever step or codec refused it. Must not judge anything: what is refused, and why, is settled when
these steps begin.
"""

from collections import Counter
from collections.abc import Iterable
from typing import Final

from app.core.reasons import NEVER_KEPT, title_of
from app.ingest.intake import Turned
from app.ingest.registry import BoxEntry
from app.ingest.work import Work
from app.observations.quarantine import Refused, quarantine
from app.sites.door_refusals import DoorRefusal, add_door_refusals
from app.sites.purposes import OF_EVENTS, OF_METRICS, PURPOSES, Purpose

# What is refused for one of these was permitted, or what was not has been taken out.
_JUDGED: Final = frozenset({"time_too_old", "quota_exceeded", "erased_range"})
_OF_NO_PURPOSE: Final = frozenset({"status", "reported"})


async def quarantine_refused(work: Work) -> None:
    """Store what was refused and may be kept, so that it can be looked at, mended and replayed."""
    refused = []
    for turned in work.turned:
        rejection = turned.rejection
        if rejection.code in NEVER_KEPT:
            continue
        box = None if turned.box is None else work.find(turned.box)
        topic = work.intake.messages[turned.origin].topic
        has_basis = rejection.code in _JUDGED or _has_basis(work, box, rejection.purpose, topic)
        refused.append(
            Refused(
                work.organisation_id if box is None else box.organisation_id,
                turned.box,
                rejection.code,
                rejection.detail if has_basis else title_of(rejection.code),
                topic,
                turned.part if has_basis else b"",
                len(turned.part) if turned.size is None else turned.size,
            )
        )
    await quarantine(work.connection, refused, door=work.intake.door, now=work.now)


def _has_basis(work: Work, box: BoxEntry | None, purpose: str | None, topic: str | None) -> bool:
    """Whether what could not be read may be kept: all that it may be has to be permitted.

    Of a box that nobody has registered it is not known what its site has declared: what needs no approval may
    be kept until it is registered. What is neither event nor measurement has no purpose.
    """
    kind = None if topic is None else topic.rpartition("/")[2]
    if kind in _OF_NO_PURPOSE:
        return True
    if purpose is not None:
        purposes: Iterable[Purpose] = (each for each in PURPOSES if each.name == purpose)
    else:
        purposes = OF_EVENTS if kind == "event" else OF_METRICS
    if box is None:
        return not any(each.sensitive for each in purposes)
    permits, now_us = work.registry.permits(box.site_id), work.judged_us
    return all(permits.refusal(each.name, now_us, now_us) is None for each in purposes)


async def count_refused(work: Work) -> None:
    """Count what may not be kept, by whose it was, its code and its purpose."""
    counts = Counter(work.also)
    counts.update(_counted(work, turned) for turned in work.turned if turned.rejection.code in NEVER_KEPT)
    counts.update(_counted(work, turned) for turned in work.withheld)
    await add_door_refusals(work.connection, counts, door=work.intake.door, now=work.now)


def _counted(work: Work, turned: Turned) -> DoorRefusal:
    rejection = turned.rejection
    box = None if turned.box is None else work.find(turned.box)
    if box is None:
        return DoorRefusal(work.organisation_id, None, rejection.code, rejection.purpose)
    return DoorRefusal(box.organisation_id, box.site_id, rejection.code, rejection.purpose)
