"""Quarantines refused input; input that must never be stored is only counted.

A rejection code in `NEVER_STORED_CODES` leaves a count and nothing else. These steps do not decide what is
refused: that is settled before they begin.
"""

import re
from collections import Counter
from collections.abc import Iterable
from typing import Final

from app.catalogue.purposes import (
    EVENT_PURPOSES,
    PURPOSE_BY_EVENT_TYPE,
    PURPOSE_BY_METRIC,
    PURPOSES,
    PURPOSES_BY_NAME,
    SAMPLE_PURPOSES,
    Purpose,
    PurposeName,
)
from app.ingest.codec.decoded_batch import BatchRejection
from app.ingest.pipeline.batch_context import BatchContext
from app.ingest.pipeline.registry_snapshot import RegisteredBox
from app.platform.kernel.rejection_codes import NEVER_STORED_CODES, get_rejection_title
from app.quarantine.entry_writer import RejectedInput, is_replaying, write_quarantine_entries
from app.registry.privacy_refusal_counts import RefusalCountKey, add_refusal_counts, record_box_refusals

# Input refused with one of these codes was permitted, or its forbidden values have been removed.
_PURPOSE_CHECKED: Final = frozenset({"time_too_old", "quota_exceeded", "erased_range"})
_WITHOUT_PURPOSE: Final = frozenset({"status", "reported"})
_PURPOSE_OF_NAME: Final = {
    name.encode(): purpose for name, purpose in (*PURPOSE_BY_METRIC.items(), *PURPOSE_BY_EVENT_TYPE.items())
}
# Names of metrics and event types, quoted as in JSON. They show the purpose on any topic.
_NAMED: Final = re.compile(rb'"(' + b"|".join(_PURPOSE_OF_NAME) + rb')"')


async def quarantine_refused(context: BatchContext) -> None:
    """Store refused input that may be stored, so that an operator can inspect and replay it."""
    refused = []
    for refusal in context.rejections:
        rejection = refusal.rejection
        if rejection.code in NEVER_STORED_CODES:
            continue
        box = None if refusal.box is None else context.find(refusal.box, refusal.origin)
        topic = context.intake.messages[refusal.origin].topic
        has_basis = _may_be_retained(refusal) and (
            rejection.code in _PURPOSE_CHECKED
            or _has_basis(context, box, rejection.purpose, topic, refusal.part)
        )
        refused.append(
            RejectedInput(
                context.intake.find_call(refusal.origin).organisation_id
                if box is None
                else box.organisation_id,
                refusal.box,
                rejection.code,
                rejection.detail if has_basis else get_rejection_title(rejection.code),
                topic,
                refusal.part if has_basis else b"",
                len(refusal.part) if refusal.size is None else refusal.size,
            )
        )
    await write_quarantine_entries(context.connection, refused, door=context.intake.door, now=context.now)


def _may_be_retained(refusal: BatchRejection) -> bool:
    """Whether quarantine would not retain sensitive data longer than the site does."""
    purpose = next((each for each in PURPOSES if each.name == refusal.rejection.purpose), None)
    return refusal.rejection.code != "time_too_old" or purpose is None or not purpose.sensitive


def _named_in(part: bytes) -> set[PurposeName]:
    return {_PURPOSE_OF_NAME[name] for name in _NAMED.findall(part)}


def _has_basis(
    context: BatchContext, box: RegisteredBox | None, purpose: str | None, topic: str | None, part: bytes
) -> bool:
    """Whether unreadable input may be stored: every purpose that it may serve must be permitted.

    For an unregistered box the site's declarations are unknown: input that needs no approval may be stored.
    Messages other than events and measurements have no purpose unless they name one: an event that was sent
    as a status is an event.

    Args:
        context: the batch.
        box: the box, if it is registered.
        purpose: the purpose of the refusal, if known.
        topic: the MQTT topic, if there is one.
        part: the refused part of the payload.
    """
    kind = None if topic is None else topic.rpartition("/")[2]
    usual: Iterable[Purpose]
    if purpose is not None:
        usual = (each for each in PURPOSES if each.name == purpose)
    elif kind in _WITHOUT_PURPOSE:
        usual = ()
    else:
        usual = EVENT_PURPOSES if kind == "event" else SAMPLE_PURPOSES
    purposes = {*usual, *(PURPOSES_BY_NAME[name] for name in _named_in(part))}
    if box is None:
        return not any(each.sensitive for each in purposes)
    policies, now_us = context.registry.purpose_policies(box.site_id), context.policy_time_us
    return all(policies.refusal(each.name, now_us, now_us) is None for each in purposes)


async def record_last_refusals(context: BatchContext) -> None:
    """Record the time and code of the last refusal of each box: a refused box is not silent.

    Events that may not be stored are not recorded, since the time would reveal the event.
    """
    if is_replaying():
        return
    codes: dict[int, str] = {}
    for refusal in context.rejections:
        box = None if refusal.box is None else context.find(refusal.box, refusal.origin)
        code, topic = refusal.rejection.code, context.intake.messages[refusal.origin].topic
        is_event = context.intake.find_call(refusal.origin).has_event_per_message or (
            topic is not None and topic.endswith("/event")
        )
        if box is not None and not (is_event and code in NEVER_STORED_CODES):
            codes[box.key] = code
    await record_box_refusals(context.connection, codes, now=context.now)


async def count_refused(context: BatchContext) -> None:
    """Count refusals that may not be stored, by organisation, site, code and purpose."""
    counts = Counter(context.other_refusal_counts)
    counts.update(
        _counted(context, refusal)
        for refusal in context.rejections
        if refusal.rejection.code in NEVER_STORED_CODES
    )
    counts.update(_counted(context, refusal) for refusal in context.withheld)
    await add_refusal_counts(context.connection, counts, door=context.intake.door, now=context.now)


def _counted(context: BatchContext, refusal: BatchRejection) -> RefusalCountKey:
    rejection = refusal.rejection
    box = None if refusal.box is None else context.find(refusal.box, refusal.origin)
    if box is None:
        sender = context.intake.find_call(refusal.origin).organisation_id
        return RefusalCountKey(sender, None, rejection.code, rejection.purpose)
    return RefusalCountKey(box.organisation_id, box.site_id, rejection.code, rejection.purpose)
