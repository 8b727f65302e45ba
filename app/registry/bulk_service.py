"""Carries out operations on many boxes: plans them, and changes boxes in slices with a result for each.

Each slice is a transaction of its own, so that no batch of samples waits for ten thousand boxes. An error of
a box changes nothing of the others, and a slice that is committed stays. The rules are those of single boxes
(`app.registry.service`). The caller brings the broker's accounts up to date, once, after the last slice.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import batched, zip_longest
from typing import Final

from app.platform.broker.mosquitto_hash import hash_mosquitto_password
from app.platform.db.database import Database, ReadSession, WriteSession, is_transient
from app.platform.db.ingest_barrier import close_ingest_barrier
from app.platform.db.protocols import AlertCloser
from app.platform.identity.principals import Principal
from app.platform.kernel.errors import ConflictError, InvalidError, NotFoundError
from app.platform.observability.metrics_and_logs import get_logger, redact_error
from app.registry import box_configurations, box_repository, repository
from app.registry.box_repository import SilenceCriterion
from app.registry.bulk_plan import (
    BoxStep,
    BulkPlanInputs,
    compute_preview_token,
    make_not_found_step,
    plan_step,
)
from app.registry.bulk_schemas import (
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
from app.registry.service import generate_box_password

# A slice that closes the gate holds up every box's samples: 100 boxes take about 0.1 s.
_SLICE: Final = 500
_SLICE_BEHIND_GATE: Final = 100
_log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class BulkContext:
    """What an operation is carried out with.

    Attributes:
        database: for a transaction a slice.
        principal: the caller.
        silence: when a box counts as silent, now.
        close_alerts: closes the alerts of boxes that go or move.
        is_late: tells whether no slice is to begin any more.
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


async def plan_operation(session: ReadSession, wanted: BoxesOperation, context: BulkContext) -> list[BoxStep]:
    """Plan an operation for each of its boxes.

    Raises:
        NotFoundError: There is no site to move to.
        InvalidError: `too_many_boxes`.
    """
    visible = context.principal.visible()
    target = get_target_site_id(wanted.operation)
    site = None if target is None else await repository.find_site(session, target, visible)
    if target is not None and site is None:
        raise NotFoundError("site", target)
    found = await box_repository.select_boxes(
        session,
        visible,
        ids=wanted.ids,
        wanted=None if wanted.select is None else wanted.select.as_filter(),
        silence=context.silence,
        most=OPERATION_MAX + 1,
    )
    if len(found) > OPERATION_MAX:
        raise InvalidError(
            f"The filter selects more than {OPERATION_MAX} boxes. Narrow it, and send the rest after that.",
            code="too_many_boxes",
        )
    desired = await _desired(session, wanted, found)
    around = BulkPlanInputs(None if site is None else site.organisation_id, desired)
    steps = {box.id: plan_step(box, wanted.operation, around) for box in found}
    if wanted.ids is None:
        return list(steps.values())
    return [
        steps.get(identifier) or make_not_found_step(identifier) for identifier in dict.fromkeys(wanted.ids)
    ]


async def _desired(
    session: ReadSession | WriteSession, wanted: BoxesOperation, boxes: Sequence[Box]
) -> dict[int, object]:
    if not isinstance(wanted.operation, ConfigureBoxes):
        return {}
    return await box_configurations.read_desired_configs(session, [box.key for box in boxes])


async def execute_plan(
    wanted: BoxesOperation, planned: Sequence[BoxStep], context: BulkContext
) -> list[BoxStep]:
    """Carry out a plan, slice by slice.

    Returns:
        The steps in the plan's order, as they have come out. What could not begin in time, or not be stored,
        is an error of its boxes.

    Raises:
        ConflictError: `selection_changed`: it is not what was previewed.
    """
    if wanted.preview is not None and wanted.preview != compute_preview_token(wanted.operation, planned):
        raise ConflictError(
            "The boxes, or what would change of them, are not those of the preview any more. Nothing was "
            "changed. Make a new preview.",
            code="selection_changed",
            extra={"selected": len(planned)},
        )
    behind_gate = isinstance(wanted.operation, MoveBoxes | DeleteBoxes)
    done: dict[str, BoxStep] = {}
    to_do = [step for step in planned if step.result == "changed"]
    for steps in batched(to_do, _SLICE_BEHIND_GATE if behind_gate else _SLICE):
        if context.is_late():
            rest = "It was not reached in the time of one call. Send it again."
            done |= {step.id: _failed(step, "not_reached", rest) for step in to_do[len(done) :]}
            break
        try:
            done |= await _carry_out_slice(wanted, steps, context)
        except Exception as error:
            # What earlier slices have committed has to be answered; of the first one nothing is.
            if not done or not is_transient(error):
                raise
            _log.warning("bulk_operation_broken_off", done=len(done), error=redact_error(error))
            rest = "The database could not store it. Send it again."
            done |= {step.id: _failed(step, "unavailable", rest) for step in to_do[len(done) :]}
            break
    return [done.get(step.id, step) for step in planned]


def _failed(step: BoxStep, code: str, detail: str) -> BoxStep:
    return BoxStep(step.id, step.key, "error", code, detail)


async def _carry_out_slice(
    wanted: BoxesOperation, steps: Sequence[BoxStep], context: BulkContext
) -> dict[str, BoxStep]:
    operation = wanted.operation
    # 0.1 ms each, before anything is locked.
    rotates = isinstance(operation, RotateCredentials)
    new = await asyncio.to_thread(_new_passwords, len(steps)) if rotates else {}
    async with context.database.write() as session:
        if isinstance(operation, MoveBoxes | DeleteBoxes):
            await close_ingest_barrier(session)
        visible = context.principal.visible()
        target = get_target_site_id(operation)
        sites = {} if target is None else await repository.lock_sites(session, [target], visible)
        locked = await box_repository.lock_boxes(session, [step.key for step in steps], visible)
        boxes = {box.id: box for box in locked}
        owners = [site.organisation_id for site in sites.values()]
        around = BulkPlanInputs(
            owners[0] if owners else None, await _desired(session, wanted, list(boxes.values()))
        )
        done: dict[str, BoxStep] = {}
        for step, password in zip_longest(steps, new):
            box = boxes.get(step.id)
            if box is None or box.key != step.key:
                fresh = make_not_found_step(step.id, step.key)
            elif (fresh := plan_step(box, operation, around)) != step and wanted.preview is not None:
                fresh = _failed(
                    step, "changed_meanwhile", "It was changed since the preview. Look at it again."
                )
            done[step.id] = replace(fresh, password=password) if fresh.result == "changed" else fresh
        changed = [boxes[step.id] for step in done.values() if step.result == "changed"]
        if isinstance(operation, LabelBoxes | RotateCredentials | RevokeCredentials):
            for box in changed:
                _change_box(box, done[box.id], new, context.now)
        elif changed:
            await _change_together(session, operation, changed, context)
    return done


def _new_passwords(count: int) -> dict[str, str]:
    """New passwords, each with its hash."""
    return {
        password: hash_mosquitto_password(password)
        for password in (generate_box_password() for _ in range(count))
    }


def _change_box(box: Box, step: BoxStep, hashes: Mapping[str, str], now: datetime) -> None:
    """Label a locked box, or rotate (the step has a password) or revoke its credentials."""
    box.updated_at = now
    for name, value in (step.after or {}).items():
        setattr(box, name, value)
    if step.after is None:
        box.password_hash = "" if step.password is None else hashes[step.password]
        box.revoked_at = now if step.password is None else None


async def _change_together(
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
