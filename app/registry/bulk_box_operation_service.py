"""Plans and executes operations on many boxes, in slices, with a result for each box.

Each slice has its own transaction, so that no batch of samples waits for ten thousand boxes. An error of a
box does not affect the others, and a committed slice stays. The rules are those of single boxes
(`app.registry.box_service`). After the last slice the caller updates the broker's accounts once.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import batched, zip_longest
from typing import Final

from app.platform.broker.mosquitto_password_hash import hash_mosquitto_password
from app.platform.db.alert_closer_protocol import AlertCloser
from app.platform.db.database import Database, ReadSession, WriteSession, is_transient
from app.platform.db.ingest_barrier import close_ingest_barrier
from app.platform.identity.caller_authentication import Principal
from app.platform.kernel.errors import ConflictError, InvalidError, NotFoundError
from app.platform.observability.metrics_and_logs import get_logger, redact_error
from app.registry import box_configurations, box_repository, site_repository
from app.registry.box_filters import SilenceCriterion
from app.registry.box_service import generate_box_password
from app.registry.bulk_box_operation_plan import (
    BoxStep,
    BulkPlanInputs,
    compute_preview_token,
    make_not_found_step,
    plan_step,
)
from app.registry.bulk_box_operation_schemas import (
    OPERATION_MAX,
    BoxesOperation,
    ConfigureBoxes,
    DeleteBoxes,
    LabelBoxes,
    MoveBoxes,
    RevokeCredentials,
    RotateCredentials,
    get_target_site_id,
)
from app.registry.models import Box

# A slice that closes the ingest barrier delays the samples of all boxes: 100 boxes take about 0.1 s.
_SLICE: Final = 500
_SLICE_WITH_BARRIER: Final = 100
_log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class BulkContext:
    """The dependencies of a bulk operation.

    Attributes:
        database: The database; each slice opens a transaction.
        principal: The caller.
        silence: The criterion of a silent box, with the time of the operation.
        close_alerts: Closes the alerts of boxes that are deleted or moved.
        is_late: Whether the time is over in which a slice may begin.
    """

    database: Database
    principal: Principal
    silence: SilenceCriterion
    close_alerts: AlertCloser
    is_late: Callable[[], bool]

    @property
    def now(self) -> datetime:
        """The time of the operation."""
        return self.silence.now


async def plan_operation(
    session: ReadSession, request: BoxesOperation, context: BulkContext
) -> list[BoxStep]:
    """Plan an operation for each of its boxes.

    Raises:
        NotFoundError: The site to move to does not exist.
        InvalidError: `too_many_boxes`.
    """
    visible = context.principal.visible()
    target = get_target_site_id(request.operation)
    site = None if target is None else await site_repository.find_site(session, target, visible)
    if target is not None and site is None:
        raise NotFoundError("site", target)
    found = await box_repository.select_boxes(
        session,
        visible,
        ids=request.ids,
        box_filter=None if request.select is None else request.select.as_filter(),
        silence=context.silence,
        most=OPERATION_MAX + 1,
    )
    if len(found) > OPERATION_MAX:
        raise InvalidError(
            f"The filter selects more than {OPERATION_MAX} boxes. Narrow it, and send the rest after that.",
            code="too_many_boxes",
        )
    desired = await _read_desired(session, request, found)
    inputs = BulkPlanInputs(None if site is None else site.organisation_id, desired)
    steps = {box.id: plan_step(box, request.operation, inputs) for box in found}
    if request.ids is None:
        return list(steps.values())
    return [
        steps.get(identifier) or make_not_found_step(identifier) for identifier in dict.fromkeys(request.ids)
    ]


async def _read_desired(
    session: ReadSession | WriteSession, request: BoxesOperation, boxes: Sequence[Box]
) -> dict[int, object]:
    if not isinstance(request.operation, ConfigureBoxes):
        return {}
    return await box_configurations.read_desired_configs(session, [box.key for box in boxes])


async def execute_plan(
    request: BoxesOperation, planned: Sequence[BoxStep], context: BulkContext
) -> list[BoxStep]:
    """Execute a plan slice by slice.

    Returns:
        The steps with their results, in the order of the plan. Boxes of a slice that could not begin in time,
        or could not be stored, have an error.

    Raises:
        ConflictError: `selection_changed`: the plan differs from the preview.
    """
    if request.preview is not None and request.preview != compute_preview_token(request.operation, planned):
        raise ConflictError(
            "The selected boxes or their changes differ from the preview. Nothing was changed. Make a new "
            "preview.",
            code="selection_changed",
            extra={"selected": len(planned)},
        )
    needs_barrier = isinstance(request.operation, MoveBoxes | DeleteBoxes)
    done: dict[str, BoxStep] = {}
    pending = [step for step in planned if step.result == "changed"]
    for steps in batched(pending, _SLICE_WITH_BARRIER if needs_barrier else _SLICE):
        if context.is_late():
            rest = "The time of the request was over before this box. Send it again."
            done |= {step.id: _make_failed_step(step, "not_reached", rest) for step in pending[len(done) :]}
            break
        try:
            done |= await _execute_slice(request, steps, context)
        except Exception as error:
            # The response must report what earlier slices committed. If the first slice fails, none did.
            if not done or not is_transient(error):
                raise
            _log.warning("bulk_operation_broken_off", done=len(done), error=redact_error(error))
            rest = "The database could not store the change. Send it again."
            done |= {step.id: _make_failed_step(step, "unavailable", rest) for step in pending[len(done) :]}
            break
    return [done.get(step.id, step) for step in planned]


def _make_failed_step(step: BoxStep, code: str, detail: str) -> BoxStep:
    return BoxStep(step.id, step.key, "error", code, detail)


async def _execute_slice(
    request: BoxesOperation, steps: Sequence[BoxStep], context: BulkContext
) -> dict[str, BoxStep]:
    operation = request.operation
    # Hashing takes 0.1 ms each: it is done before rows are locked.
    rotates = isinstance(operation, RotateCredentials)
    new = await asyncio.to_thread(_new_passwords, len(steps)) if rotates else {}
    async with context.database.write() as session:
        if isinstance(operation, MoveBoxes | DeleteBoxes):
            await close_ingest_barrier(session)
        visible = context.principal.visible()
        target = get_target_site_id(operation)
        sites = {} if target is None else await site_repository.lock_sites(session, [target], visible)
        locked = await box_repository.lock_boxes(session, [step.key for step in steps], visible)
        boxes = {box.id: box for box in locked}
        owners = [site.organisation_id for site in sites.values()]
        inputs = BulkPlanInputs(
            owners[0] if owners else None, await _read_desired(session, request, list(boxes.values()))
        )
        done: dict[str, BoxStep] = {}
        for step, password in zip_longest(steps, new):
            box = boxes.get(step.id)
            if box is None or box.key != step.key:
                current_step = make_not_found_step(step.id, step.key)
            elif (current_step := plan_step(box, operation, inputs)) != step and request.preview is not None:
                current_step = _make_failed_step(
                    step, "changed_meanwhile", "The box was changed since the preview. Make a new preview."
                )
            done[step.id] = (
                replace(current_step, password=password) if current_step.result == "changed" else current_step
            )
        changed = [boxes[step.id] for step in done.values() if step.result == "changed"]
        if isinstance(operation, LabelBoxes | RotateCredentials | RevokeCredentials):
            for box in changed:
                _change_box(box, done[box.id], new, context.now)
        elif changed:
            await _change_in_bulk(session, operation, changed, context)
    return done


def _new_passwords(count: int) -> dict[str, str]:
    """Generate passwords. Returns their hashes by password."""
    return {
        password: hash_mosquitto_password(password)
        for password in (generate_box_password() for _ in range(count))
    }


def _change_box(box: Box, step: BoxStep, hashes: Mapping[str, str], now: datetime) -> None:
    """Apply labels to a locked box, or rotate (the step has a password) or revoke its credentials."""
    box.updated_at = now
    for name, value in (step.after or {}).items():
        setattr(box, name, value)
    if step.after is None:
        box.password_hash = "" if step.password is None else hashes[step.password]
        box.revoked_at = now if step.password is None else None


async def _change_in_bulk(
    session: WriteSession,
    operation: ConfigureBoxes | MoveBoxes | DeleteBoxes,
    boxes: Sequence[Box],
    context: BulkContext,
) -> None:
    """Configure, move or delete locked boxes."""
    keys, now = [box.key for box in boxes], context.now
    match operation:
        case ConfigureBoxes():
            await box_configurations.set_desired_config(session, keys, operation.config, now)
        case DeleteBoxes():
            await box_repository.mark_boxes_deleted(session, keys, now)
            await box_configurations.clear_desired_config(session, keys, now)
            await context.close_alerts(session, reason="box_deleted", now=now, box_keys=keys)
        case MoveBoxes():
            await box_repository.move_boxes(session, keys, operation.site_id, now)
            await context.close_alerts(session, reason="box_moved", now=now, box_keys=keys)
