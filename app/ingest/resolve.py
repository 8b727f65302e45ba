"""The step `resolve` of the pipeline: whose samples, events and statuses are these?"""

from typing import Final, cast

from app.core.reasons import Rejection
from app.ingest.codec import Row
from app.ingest.registry import BoxEntry
from app.ingest.work import Work
from app.sites.status import StatusRow

_UNKNOWN_BOX: Final = "No box of this id is registered. Register it (POST /v1/boxes), then send again."


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
        retention = registry.retention_us(box.site_id)
        if retention is not None and row[0] < work.now_us - retention:
            detail = f"The site keeps {retention // 86_400_000_000} days of samples; this one is older."
            work.refuse_sample(origin, box_id, Rejection("time_too_old", detail, row[1]), row)
            continue
        rows.append(row)
        found.append(box)
        origins.append(origin)
    work.rows, work.sample_boxes, work.origins = rows, found, origins


async def resolve(work: Work) -> None:
    """Find the box of each sample, event and status; refuse what has none, or is older than is kept."""
    find = work.find
    intake = work.intake
    _resolve_samples(work)
    for box_id, event, origin in intake.events:
        box = find(box_id)
        if box is None:
            work.refuse(origin, box_id, Rejection("unknown_box", _UNKNOWN_BOX, event.seq))
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
