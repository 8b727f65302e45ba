"""The step `resolve` of the pipeline: whose samples, events and statuses are these?

Owns which of them are refused for their time: what is older than its site keeps it, and what was erased.
"""

from typing import Final, cast

from app.core.reasons import Rejection
from app.ingest.codec import Row
from app.ingest.codec_messages import Event
from app.ingest.registry import BoxEntry
from app.ingest.work import Work
from app.sites.retention import DAY_US
from app.sites.status import StatusRow

_UNKNOWN_BOX: Final = "No box of this id is registered. Register it (POST /v1/boxes), then send again."
_ERASED: Final = "What the box measured then was erased, and is not taken again. Forget it."


def _resolve_samples(work: Work) -> None:
    intake, registry = work.intake, work.registry
    if intake.limit is None and registry.keeps_everything:
        # Usual, and ten times as quick: all are known, and nothing is too old.
        boxes = list(map(registry.boxes.get, intake.boxes))
        if None not in boxes:
            work.rows, work.sample_boxes = intake.rows, cast("list[BoxEntry]", boxes)
            work.origins = intake.origins
            return
    rows: list[Row] = []
    found: list[BoxEntry] = []
    origins: list[int] = []
    for box_id, row, origin in zip(intake.boxes, intake.rows, intake.origins, strict=True):
        box = work.find(box_id)
        if box is None:
            work.refuse_sample(origin, box_id, Rejection("unknown_box", _UNKNOWN_BOX, row[1]), row)
            continue
        rejection = _untimely(work, box, row)
        if rejection is not None:
            work.refuse_sample(origin, box_id, rejection, row)
            continue
        rows.append(row)
        found.append(box)
        origins.append(origin)
    work.rows, work.sample_boxes, work.origins = rows, found, origins


def _untimely(work: Work, box: BoxEntry, row: Row) -> Rejection | None:
    """Why a sample is refused for its time, if it is."""
    time_us, seq, values = row
    if work.registry.is_erased(box.key, time_us):
        return Rejection("erased_range", _ERASED, seq)
    ages = work.registry.ages(box.site_id)
    exceeded = None if ages is None else ages.exceeded(work.now_us - time_us, values)
    if exceeded is None:
        return None
    detail = f"The site keeps {exceeded // DAY_US} days of what this sample has; it is older."
    return Rejection("time_too_old", detail, seq)


def _untimely_event(work: Work, box: BoxEntry, event: Event) -> Rejection | None:
    """Why an event is refused for its time, if it is."""
    if work.registry.is_erased(box.key, event.time_us):
        return Rejection("erased_range", _ERASED, event.seq)
    longest = work.registry.event_us(box.site_id)
    if longest is None or event.time_us >= work.now_us - longest:
        return None
    detail = f"The site keeps {longest // DAY_US} days of events; this one is older."
    return Rejection("time_too_old", detail, event.seq)


async def resolve(work: Work) -> None:
    """Find the box of each sample, event and status; refuse what has none, or is older than is kept."""
    find = work.find
    intake = work.intake
    _resolve_samples(work)
    for box_id, event, origin in intake.events:
        box = find(box_id)
        if box is None:
            work.refuse(origin, box_id, Rejection("unknown_box", _UNKNOWN_BOX, event.seq))
        elif (rejection := _untimely_event(work, box, event)) is not None:
            work.refuse(origin, box_id, rejection)
        else:
            work.events.append((box, event, origin))
    for box_id, status, origin in intake.statuses:
        box = find(box_id)
        if box is None:
            work.refuse(origin, box_id, Rejection("unknown_box", _UNKNOWN_BOX))
        else:
            newest = StatusRow(status.state, status.firmware, status.battery, status.rssi)
            work.statuses[box.key] = newest.over(work.statuses.get(box.key))
    for box_id, config, origin in intake.configs:
        box = find(box_id)
        if box is None:
            work.refuse(origin, box_id, Rejection("unknown_box", _UNKNOWN_BOX))
        else:
            work.configs[box.key] = config
