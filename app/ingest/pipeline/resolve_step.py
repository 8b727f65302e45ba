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


def _resolve_samples(work: BatchContext) -> None:
    intake, registry = work.intake, work.registry
    if intake.limit is None and registry.keeps_everything:
        # Usual, and ten times as quick: all are known, all is permitted, and nothing is too old.
        found_all = cast("list[RegisteredBox]", list(map(registry.boxes.get, intake.boxes)))
        restricted = registry.restricted(work.judged_us)
        if None not in found_all and (not restricted or restricted.isdisjoint(map(_site_of, found_all))):
            work.rows, work.sample_boxes, work.origins = intake.rows, found_all, intake.origins
            return
    rows: list[Row] = []
    found: list[RegisteredBox] = []
    origins: list[int] = []
    places = intake.places
    for at, (box_id, given, origin) in enumerate(zip(intake.boxes, intake.rows, intake.origins, strict=True)):
        place = places[at] if places else None
        box = work.find(box_id)
        if box is None:
            rejection = InputRejection("unknown_box", _UNKNOWN_BOX, given[1], place)
            work.refuse_sample(origin, box_id, rejection, given)
            continue
        row, withheld = _permitted(work, box, given, origin, place)
        if row is None:
            # One sample is refused once, under the first of its purposes; each of them is counted.
            work.turned.append(withheld[0])
            _count_also(work, box, withheld[1:])
            continue
        untimely = _untimely(work, box, row, place)
        if untimely is not None:
            work.refuse_sample(origin, box_id, untimely, row, is_cut=bool(withheld))
            _count_also(work, box, withheld)
            continue
        work.withheld.extend(withheld)
        rows.append(row)
        found.append(box)
        origins.append(origin)
    work.rows, work.sample_boxes, work.origins = rows, found, origins


def _permitted(
    work: BatchContext, box: RegisteredBox, row: Row, origin: int, place: int | None
) -> tuple[Row | None, list[BatchRejection]]:
    """What is left of a sample without what its site may not take (None: nothing), and why that may not."""
    permits = work.registry.permits(box.site_id)
    if work.judged_us < permits.first_refusal_us:
        return row, []
    time_us, seq, values = row
    left, refused = permits.sift(values, time_us, work.judged_us)
    turned = [
        BatchRejection(
            origin,
            box.id,
            InputRejection(code, describe_purpose_refusal(code, purpose), seq, place, purpose),
            b"",
        )
        for purpose, code in refused
    ]
    return ((time_us, seq, left) if left.count(None) < len(left) else None), turned


def _count_also(work: BatchContext, box: RegisteredBox, turned: Sequence[BatchRejection]) -> None:
    for _, _, rejection, *_ in turned:
        work.also[RefusalCountKey(box.organisation_id, box.site_id, rejection.code, rejection.purpose)] += 1


def _untimely(work: BatchContext, box: RegisteredBox, row: Row, place: int | None) -> InputRejection | None:
    """Why a sample is refused for its time, if it is."""
    time_us, seq, values = row
    if work.registry.is_erased(box.key, time_us):
        return InputRejection("erased_range", _ERASED, seq, place)
    ages = work.registry.ages(box.site_id)
    exceeded = None if ages is None else ages.exceeded(work.now_us - time_us, values)
    if exceeded is None:
        return None
    detail = f"The site keeps {exceeded // DAY_US} days of what this sample has; it is older."
    return InputRejection("time_too_old", detail, seq, place)


def _event_refusal(
    work: BatchContext, box: RegisteredBox, event: DeviceEvent, place: int | None
) -> InputRejection | None:
    """Why an event is refused for its purpose or its time, if it is."""
    purpose = PURPOSE_BY_EVENT_TYPE.get(event.type)
    if purpose is None:
        return InputRejection("unknown_event_type", UNKNOWN_TYPE, event.seq, place)
    code = work.registry.permits(box.site_id).refusal(purpose, event.time_us, work.judged_us)
    if code is not None:
        return InputRejection(code, describe_purpose_refusal(code, purpose), event.seq, place, purpose)
    if work.registry.is_erased(box.key, event.time_us):
        return InputRejection("erased_range", _ERASED, event.seq, place, purpose)
    longest = work.registry.event_us(box.site_id, purpose)
    if longest is None or event.time_us >= work.now_us - longest:
        return None
    detail = f"The site keeps {longest // DAY_US} days of events; this one is older."
    return InputRejection("time_too_old", detail, event.seq, place, purpose)


def _judge_unreadable(work: BatchContext) -> None:
    """Refuse for its purpose what no codec could take: an event with a fault has no more basis than another.

    Its time is not known: what began later than now is not declared, and no more is asked.
    """
    for at, turned in enumerate(work.turned):
        rejection = turned.rejection
        box = None if turned.box is None else work.find(turned.box)
        if rejection.purpose is None or box is None or rejection.code in NEVER_STORED_CODES:
            continue
        purpose = next(name for name in PURPOSES_BY_NAME if name == rejection.purpose)
        code = work.registry.permits(box.site_id).refusal(purpose, work.judged_us, work.judged_us)
        if code is not None:
            instead = InputRejection(
                code,
                describe_purpose_refusal(code, purpose),
                rejection.seq,
                rejection.index,
                rejection.purpose,
            )
            work.turned[at] = BatchRejection(turned.origin, turned.box, instead, b"")


def _status_row(work: BatchContext, box: RegisteredBox, status: BoxStatus, origin: int) -> StatusRow:
    """A status, without the state of the equipment where that is not permitted."""
    battery, rssi = status.battery, status.rssi
    code = work.registry.permits(box.site_id).refusal("equipment", work.judged_us, work.judged_us)
    if code is not None and not (battery is None and rssi is None):
        rejection = InputRejection(code, describe_purpose_refusal(code, "equipment"), purpose="equipment")
        work.withheld.append(BatchRejection(origin, box.id, rejection, b""))
        battery = rssi = None
    return StatusRow(status.state, status.firmware, battery, rssi)


async def resolve_boxes(work: BatchContext) -> None:
    """Find the box of each sample, event and status; refuse what has none, or is older than is kept."""
    find = work.find
    intake = work.intake
    if work.turned:
        _judge_unreadable(work)
    _resolve_samples(work)
    for box_id, event, origin in intake.events:
        place = origin if intake.by_event else None
        box = find(box_id)
        if box is None:
            purpose = PURPOSE_BY_EVENT_TYPE.get(event.type)
            work.refuse(
                origin, box_id, InputRejection("unknown_box", _UNKNOWN_BOX, event.seq, place, purpose)
            )
        elif (rejection := _event_refusal(work, box, event, place)) is not None:
            work.refuse(origin, box_id, rejection)
        else:
            work.events.append((box, event, origin))
    for box_id, status, origin in intake.statuses:
        box = find(box_id)
        if box is None:
            work.refuse(origin, box_id, InputRejection("unknown_box", _UNKNOWN_BOX))
        else:
            newest = _status_row(work, box, status, origin)
            work.statuses[box.key] = newest.over(work.statuses.get(box.key))
    for box_id, config, origin in intake.configs:
        box = find(box_id)
        if box is None:
            work.refuse(origin, box_id, InputRejection("unknown_box", _UNKNOWN_BOX))
        else:
            work.configs[box.key] = config
