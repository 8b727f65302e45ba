"""Assigns samples, events and statuses to boxes, and refuses what may not be stored (step `resolve_boxes`).

Owns which of them are refused for their purpose (`app.registry.purpose_policy` judges), and for their time:
what is older than its site keeps it, and what was erased. Purposes come first: what has no basis is not to
be found among what was refused for its age.
"""

from collections.abc import Sequence
from operator import attrgetter
from typing import Final, cast

from app.catalogue.purposes import PURPOSE_BY_EVENT_TYPE, PURPOSES_BY_NAME
from app.ingest.codec.event_status_decoder import UNKNOWN_TYPE, BoxStatus, DeviceEvent
from app.ingest.codec.message_intake import BatchRejection
from app.ingest.codec.telemetry_codec import Row
from app.ingest.pipeline.batch_context import BatchContext
from app.ingest.pipeline.registry_snapshot import RegisteredBox
from app.platform.kernel.rejection_codes import NEVER_STORED_CODES, InputRejection
from app.registry.box_status import StatusRow
from app.registry.purpose_policy import describe_purpose_refusal
from app.registry.refusal_counts import RefusalCountKey
from app.registry.retention_settings import DAY_US

_site_of: Final = attrgetter("site_id")
_UNKNOWN_BOX: Final = "No box of this id is registered. Register it (POST /v1/boxes), then send again."
_ERASED: Final = "What the box measured then was erased, and is not taken again. Forget it."


def _resolve_samples(context: BatchContext) -> None:
    intake, registry = context.intake, context.registry
    if intake.tenant_scope is None and registry.accepts_any_time:
        # Usual, and ten times as quick: all are known, all is permitted, and nothing is too old.
        found_all = cast("list[RegisteredBox]", list(map(registry.boxes.get, intake.boxes)))
        restricted = registry.restricted_sites(context.policy_time_us)
        if None not in found_all and (not restricted or restricted.isdisjoint(map(_site_of, found_all))):
            context.rows, context.sample_boxes, context.origins = intake.rows, found_all, intake.origins
            return
    rows: list[Row] = []
    found: list[RegisteredBox] = []
    origins: list[int] = []
    positions = intake.positions
    for at, (box_id, given, origin) in enumerate(zip(intake.boxes, intake.rows, intake.origins, strict=True)):
        position = positions[at] if positions else None
        box = context.find(box_id)
        if box is None:
            rejection = InputRejection("unknown_box", _UNKNOWN_BOX, given[1], position)
            context.refuse_sample(origin, box_id, rejection, given)
            continue
        row, withheld = _permitted(context, box, given, origin, position)
        if row is None:
            # One sample is refused once, under the first of its purposes; each of them is counted.
            context.rejections.append(withheld[0])
            _count_also(context, box, withheld[1:])
            continue
        untimely = _untimely(context, box, row, position)
        if untimely is not None:
            context.refuse_sample(origin, box_id, untimely, row, is_cut=bool(withheld))
            _count_also(context, box, withheld)
            continue
        context.withheld.extend(withheld)
        rows.append(row)
        found.append(box)
        origins.append(origin)
    context.rows, context.sample_boxes, context.origins = rows, found, origins


def _permitted(
    context: BatchContext, box: RegisteredBox, row: Row, origin: int, position: int | None
) -> tuple[Row | None, list[BatchRejection]]:
    """What is left of a sample without what its site may not take (None: nothing), and why that may not."""
    policies = context.registry.purpose_policies(box.site_id)
    if context.policy_time_us < policies.first_refusal_us:
        return row, []
    time_us, seq, values = row
    left, refused = policies.sift(values, time_us, context.policy_time_us)
    rejections = [
        BatchRejection(
            origin,
            box.id,
            InputRejection(code, describe_purpose_refusal(code, purpose), seq, position, purpose),
            b"",
        )
        for purpose, code in refused
    ]
    return ((time_us, seq, left) if left.count(None) < len(left) else None), rejections


def _count_also(context: BatchContext, box: RegisteredBox, rejections: Sequence[BatchRejection]) -> None:
    for _, _, rejection, *_ in rejections:
        context.other_refusal_counts[
            RefusalCountKey(box.organisation_id, box.site_id, rejection.code, rejection.purpose)
        ] += 1


def _untimely(
    context: BatchContext, box: RegisteredBox, row: Row, position: int | None
) -> InputRejection | None:
    """Why a sample is refused for its time, if it is."""
    time_us, seq, values = row
    if context.registry.is_erased(box.key, time_us):
        return InputRejection("erased_range", _ERASED, seq, position)
    ages = context.registry.age_limits(box.site_id)
    exceeded = None if ages is None else ages.exceeded(context.now_us - time_us, values)
    if exceeded is None:
        return None
    detail = f"The site keeps {exceeded // DAY_US} days of what this sample has; it is older."
    return InputRejection("time_too_old", detail, seq, position)


def _event_refusal(
    context: BatchContext, box: RegisteredBox, event: DeviceEvent, position: int | None
) -> InputRejection | None:
    """Why an event is refused for its purpose or its time, if it is."""
    purpose = PURPOSE_BY_EVENT_TYPE.get(event.type)
    if purpose is None:
        return InputRejection("unknown_event_type", UNKNOWN_TYPE, event.seq, position)
    code = context.registry.purpose_policies(box.site_id).refusal(
        purpose, event.time_us, context.policy_time_us
    )
    if code is not None:
        return InputRejection(code, describe_purpose_refusal(code, purpose), event.seq, position, purpose)
    if context.registry.is_erased(box.key, event.time_us):
        return InputRejection("erased_range", _ERASED, event.seq, position, purpose)
    longest = context.registry.find_max_event_age_us(box.site_id, purpose)
    if longest is None or event.time_us >= context.now_us - longest:
        return None
    detail = f"The site keeps {longest // DAY_US} days of events; this one is older."
    return InputRejection("time_too_old", detail, event.seq, position, purpose)


def _judge_unreadable(context: BatchContext) -> None:
    """Refuse for its purpose what no codec could take: an event with a fault has no more basis than another.

    Its time is not known: what began later than now is not declared, and no more is asked.
    """
    for at, refusal in enumerate(context.rejections):
        rejection = refusal.rejection
        box = None if refusal.box is None else context.find(refusal.box)
        if rejection.purpose is None or box is None or rejection.code in NEVER_STORED_CODES:
            continue
        purpose = next(name for name in PURPOSES_BY_NAME if name == rejection.purpose)
        code = context.registry.purpose_policies(box.site_id).refusal(
            purpose, context.policy_time_us, context.policy_time_us
        )
        if code is not None:
            instead = InputRejection(
                code,
                describe_purpose_refusal(code, purpose),
                rejection.seq,
                rejection.index,
                rejection.purpose,
            )
            context.rejections[at] = BatchRejection(refusal.origin, refusal.box, instead, b"")


def _status_row(context: BatchContext, box: RegisteredBox, status: BoxStatus, origin: int) -> StatusRow:
    """A status, without the state of the equipment where that is not permitted."""
    battery, rssi = status.battery, status.rssi
    code = context.registry.purpose_policies(box.site_id).refusal(
        "equipment", context.policy_time_us, context.policy_time_us
    )
    if code is not None and not (battery is None and rssi is None):
        rejection = InputRejection(code, describe_purpose_refusal(code, "equipment"), purpose="equipment")
        context.withheld.append(BatchRejection(origin, box.id, rejection, b""))
        battery = rssi = None
    return StatusRow(status.state, status.firmware, battery, rssi)


async def resolve_boxes(context: BatchContext) -> None:
    """Find the box of each sample, event and status; refuse what has none, or is older than is kept."""
    find = context.find
    intake = context.intake
    if context.rejections:
        _judge_unreadable(context)
    _resolve_samples(context)
    for box_id, event, origin in intake.events:
        position = origin if intake.has_event_per_message else None
        box = find(box_id)
        if box is None:
            purpose = PURPOSE_BY_EVENT_TYPE.get(event.type)
            context.refuse(
                origin, box_id, InputRejection("unknown_box", _UNKNOWN_BOX, event.seq, position, purpose)
            )
        elif (rejection := _event_refusal(context, box, event, position)) is not None:
            context.refuse(origin, box_id, rejection)
        else:
            context.events.append((box, event, origin))
    for box_id, status, origin in intake.statuses:
        box = find(box_id)
        if box is None:
            context.refuse(origin, box_id, InputRejection("unknown_box", _UNKNOWN_BOX))
        else:
            newest = _status_row(context, box, status, origin)
            context.statuses[box.key] = newest.over(context.statuses.get(box.key))
    for box_id, config, origin in intake.configs:
        box = find(box_id)
        if box is None:
            context.refuse(origin, box_id, InputRejection("unknown_box", _UNKNOWN_BOX))
        else:
            context.configs[box.key] = config
