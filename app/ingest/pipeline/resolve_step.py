"""Finds the box of each input, and refuses input that is too old, erased, or of an undeclared purpose.

It refuses input for its purpose (by `app.registry.purpose_policy`) and for its time: older than the site's
retention, or erased. Purposes are checked first: input without a legal basis must not appear in the
quarantine for its age.
"""

from collections.abc import Sequence
from operator import attrgetter
from typing import Final, cast

from app.catalogue.purposes import PURPOSE_BY_EVENT_TYPE, PURPOSES_BY_NAME
from app.ingest.codec.decoded_batch import BatchRejection
from app.ingest.codec.event_and_status_decoder import UNKNOWN_TYPE, BoxStatus, DeviceEvent
from app.ingest.codec.telemetry_codec import Row
from app.ingest.pipeline.batch_context import BatchContext
from app.ingest.pipeline.registry_snapshot import RegisteredBox
from app.ingest.prometheus_metrics import INGEST_OUTDATED
from app.platform.kernel.instants import DAY_US
from app.platform.kernel.rejection_codes import NEVER_STORED_CODES, InputRejection
from app.registry.box_status_writer import StatusRow, read_edges
from app.registry.privacy_refusal_counts import RefusalCountKey
from app.registry.purpose_policy import describe_purpose_refusal

_site_of: Final = attrgetter("site_id")
_UNKNOWN_BOX: Final = "No box with this id is registered. Register it (POST /v1/boxes), then send again."
_ERASED: Final = (
    "The measurements of this box at this time were erased and are not accepted again. Discard them."
)


def _resolve_samples(context: BatchContext) -> None:
    intake, registry = context.intake, context.registry
    if intake.tenant_scope is None and registry.accepts_any_time:
        # The usual case, ten times as fast: all boxes are known, and nothing can be refused.
        found_all = cast("list[RegisteredBox]", list(map(registry.boxes.get, intake.boxes)))
        restricted = registry.restricted_sites(context.policy_time_us)
        if None not in found_all and (not restricted or restricted.isdisjoint(map(_site_of, found_all))):
            context.rows, context.sample_boxes, context.origins = intake.rows, found_all, intake.origins
            return
    rows: list[Row] = []
    found: list[RegisteredBox] = []
    origins: list[int] = []
    positions = intake.positions
    for index, (box_id, given, origin) in enumerate(
        zip(intake.boxes, intake.rows, intake.origins, strict=True)
    ):
        position = positions[index] if positions else None
        box = context.find(box_id, origin)
        if box is None:
            rejection = InputRejection("unknown_box", _UNKNOWN_BOX, given[1], position)
            context.refuse_sample(origin, box_id, rejection, given)
            continue
        row, withheld = _remove_forbidden_values(context, box, given, origin, position)
        if row is None:
            # A sample is refused once, for its first purpose. Its other purposes are counted.
            context.rejections.append(withheld[0])
            _count_other_purposes(context, box, withheld[1:])
            continue
        time_rejection = _check_sample_time(context, box, row, position)
        if time_rejection is not None:
            context.refuse_sample(origin, box_id, time_rejection, row, is_cut=bool(withheld))
            _count_other_purposes(context, box, withheld)
            continue
        context.withhold(withheld)
        rows.append(row)
        found.append(box)
        origins.append(origin)
    context.rows, context.sample_boxes, context.origins = rows, found, origins


def _remove_forbidden_values(
    context: BatchContext, box: RegisteredBox, row: Row, origin: int, position: int | None
) -> tuple[Row | None, list[BatchRejection]]:
    """Remove the values of a sample that its site may not store.

    Returns:
        The rest of the sample (None if nothing is left), and a refusal for each purpose.
    """
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


def _count_other_purposes(
    context: BatchContext, box: RegisteredBox, rejections: Sequence[BatchRejection]
) -> None:
    for _, _, rejection, *_ in rejections:
        context.other_refusal_counts[
            RefusalCountKey(box.organisation_id, box.site_id, rejection.code, rejection.purpose)
        ] += 1


def _check_sample_time(
    context: BatchContext, box: RegisteredBox, row: Row, position: int | None
) -> InputRejection | None:
    """Return the refusal of a sample for its time, if there is one."""
    time_us, seq, values = row
    if context.registry.is_erased(box.key, time_us):
        return InputRejection("erased_range", _ERASED, seq, position)
    ages = context.registry.age_limits(box.site_id)
    exceeded = None if ages is None else ages.exceeded(context.now_us - time_us, values)
    if exceeded is None:
        return None
    detail = f"The site stores these metrics for {exceeded // DAY_US} days. The sample is older."
    return InputRejection("time_too_old", detail, seq, position)


def _check_event(
    context: BatchContext, box: RegisteredBox, event: DeviceEvent, position: int | None
) -> InputRejection | None:
    """Return the refusal of an event for its purpose or its time, if there is one."""
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
    detail = f"The site stores events for {longest // DAY_US} days. This event is older."
    return InputRejection("time_too_old", detail, event.seq, position, purpose)


def _check_undecodable(context: BatchContext) -> None:
    """Refuse undecodable input for its purpose: an invalid event needs a legal basis like any other.

    Its time is unknown, so purposes are checked at the present time.
    """
    for index, refusal in enumerate(context.rejections):
        rejection = refusal.rejection
        box = None if refusal.box is None else context.find(refusal.box, refusal.origin)
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
            context.rejections[index] = BatchRejection(refusal.origin, refusal.box, instead, b"")


def _status_row(context: BatchContext, box: RegisteredBox, status: BoxStatus, origin: int) -> StatusRow:
    """Build the row of a status, without the state of the equipment where that is not permitted."""
    battery, rssi = status.battery, status.rssi
    code = context.registry.purpose_policies(box.site_id).refusal(
        "equipment", context.policy_time_us, context.policy_time_us
    )
    if code is not None and not (battery is None and rssi is None):
        rejection = InputRejection(code, describe_purpose_refusal(code, "equipment"), purpose="equipment")
        context.withhold([BatchRejection(origin, box.id, rejection, b"")])
        battery = rssi = None
    edge = context.intake.find_edge(origin)
    return StatusRow(status.state, status.firmware, battery, rssi, () if edge is None else (edge,))


async def _find_outdated(context: BatchContext) -> frozenset[int]:
    """Find statuses and configurations that a broker has retained of boxes that have left it (by message).

    A broker that was away sends them to a new subscription, however old they are. The box has been online
    through another edge since, or both are as old as each other.
    """
    intake, boxes = context.intake, context.registry.boxes
    if not intake.retained or not intake.edges:
        return frozenset()
    arrivals = sorted(
        [(origin, box_id, status.state) for box_id, status, origin in intake.statuses]
        + [(origin, box_id, "") for box_id, _, origin in intake.configs]
    )
    keys = {
        boxes[box_id].key for origin, box_id, _ in arrivals if origin in intake.retained and box_id in boxes
    }
    edges: dict[int, str | None] = {**await read_edges(context.connection, sorted(keys))}
    outdated = set()
    for origin, box_id, state in arrivals:
        edge, box = intake.find_edge(origin), boxes.get(box_id)
        if box is None:
            continue
        if origin in intake.retained and edges.get(box.key, edge) != edge:
            outdated.add(origin)
        elif state == "online":
            edges[box.key] = edge
    INGEST_OUTDATED.inc(len(outdated))
    return frozenset(outdated)


async def resolve_boxes(context: BatchContext) -> None:
    """Find the box of each sample, event and status, and refuse unknown boxes and input that is too old."""
    find = context.find
    intake = context.intake
    if context.rejections:
        _check_undecodable(context)
    _resolve_samples(context)
    for box_id, event, origin in intake.events:
        position = intake.find_event_position(origin)
        box = find(box_id, origin)
        if box is None:
            purpose = PURPOSE_BY_EVENT_TYPE.get(event.type)
            context.refuse(
                origin, box_id, InputRejection("unknown_box", _UNKNOWN_BOX, event.seq, position, purpose)
            )
        elif (rejection := _check_event(context, box, event, position)) is not None:
            context.refuse(origin, box_id, rejection)
        else:
            context.events.append((box, event, origin))
    await _resolve_statuses(context)


async def _resolve_statuses(context: BatchContext) -> None:
    """Find the box of each status and of each reported configuration."""
    outdated = await _find_outdated(context)
    for box_id, status, origin in context.intake.statuses:
        box = context.find(box_id, origin)
        if box is None:
            context.refuse(origin, box_id, InputRejection("unknown_box", _UNKNOWN_BOX))
        elif origin not in outdated:
            newest = _status_row(context, box, status, origin)
            context.statuses[box.key] = newest.over(context.statuses.get(box.key))
    for box_id, config, origin in context.intake.configs:
        box = context.find(box_id, origin)
        if box is None:
            context.refuse(origin, box_id, InputRejection("unknown_box", _UNKNOWN_BOX))
        elif origin not in outdated:
            context.configs[box.key] = config
