"""Replays quarantine entries by REST: one entry, or all that match filters."""

import asyncio
import time
from collections import Counter
from datetime import UTC, datetime
from typing import Annotated, Final
from uuid import UUID

from fastapi import APIRouter, Depends, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field

from app.ingest.group_committer import wake_dispatcher_if_possible
from app.ingest.http_ingest_service import (
    HttpIngestContext,
    TelemetryOutcome,
    build_retry_header,
    describe_rejections,
    make_decode_context,
)
from app.ingest.quarantine_replay import ReplayResult, replay_entry
from app.platform.db.database import DATABASE_ERRORS, is_transient
from app.platform.http.contract.fields import Name, RequestBody
from app.platform.http.contract.pagination import decode_cursor, encode_cursor
from app.platform.http.contract.problems import document_problems, make_problem_response
from app.platform.http.contract.session_dependencies import DatabaseDependency
from app.platform.http.contract.strict_body import StrictRoute
from app.platform.identity.caller_authentication import Principal, require_scope
from app.platform.kernel.application_resources import get_resource
from app.platform.kernel.errors import ConflictError, NotFoundError, UnavailableError
from app.platform.kernel.ids import parse_id
from app.platform.kernel.rejection_codes import get_rejection_status
from app.platform.observability.metrics_and_logs import get_logger
from app.quarantine.queries import QuarantineFilter
from app.quarantine.replay_repository import (
    REPLAYABLE_COUNT_LIMIT,
    count_replayable_entries,
    find_replayable_entries,
)
from app.quarantine.router import CODE, Door

_log = get_logger(__name__)
router: Final = APIRouter(prefix="/v1/quarantine", tags=["Quarantine"], route_class=StrictRoute)
Replayer = Annotated[Principal, Depends(require_scope("telemetry:write"))]

_TRIES: Final = 3
_MOST: Final = 1_000
_WITHIN_S: Final = 20.0
_CURSOR: Final = "quarantine_replay"


class ReplayOutcome(TelemetryOutcome):
    """The outcome of a replayed entry, after the commit. The five counts add up to its content."""

    stored: int = Field(description="Samples, events, statuses and configurations that were stored")
    duplicate: int = Field(description="Samples and events that were already stored")
    conflict: int = Field(description="Box and time are stored with other values; the stored values remain")
    rejected: int = Field(description="Refused again; the entry stays, with its new reason")
    superseded: int = Field(description="Statuses and configurations skipped, because newer ones are stored")


class ReplayWanted(RequestBody):
    """Filters for the entries to replay. An entry must match all of them."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"box": "box-0001", "code": "unknown_box"}]})

    box: Name | None = Field(None, description="Only entries that name this box")
    code: Annotated[str, Field(pattern=CODE)] | None = Field(
        None, description="Only entries with this rejection code"
    )
    door: Door | None = Field(None, description="Only entries received by MQTT, or only by HTTP")
    limit: int = Field(
        100, ge=1, le=_MOST, description=f"Entries that this request replays, at most {_MOST:,}"
    )
    cursor: str | None = Field(None, max_length=512, description="`next` of the previous response")


class ReplayReason(BaseModel):
    """Why samples or events are still refused."""

    code: str = Field(examples=["unknown_metric"])
    count: int = Field(description="Number of refused samples, events, statuses and configurations")
    detail: str = Field(description="Detail of the first one")


class ReplaySummary(BaseModel):
    """The outcome of a replay of several entries."""

    tried: int = Field(description="Entries that this request replayed")
    replayed: int = Field(description="Of these, entries that were stored completely")
    refused: int = Field(description="Of these, entries that were refused again, completely or in part")
    stored: int
    duplicate: int
    conflict: int
    rejected: int
    superseded: int
    reasons: list[ReplayReason] = Field(
        description="Why samples and events are still refused, most frequent first"
    )
    left: int = Field(description=f"Entries that remain; {REPLAYABLE_COUNT_LIMIT:,} means that many or more")
    next: str | None = Field(description="Send this as `cursor` to continue; null if no entry remains")


async def _replay(request: Request, identifier: UUID, principal: Principal) -> ReplayResult:
    """Replay one entry, with retries (UnavailableError if they fail)."""
    context = get_resource(request.app, HttpIngestContext)
    for left in reversed(range(_TRIES)):
        try:
            async with context.pool.acquire(timeout=10) as connection:
                now = datetime.now(UTC)
                done = await replay_entry(
                    connection,
                    context.pipeline,
                    identifier,
                    principal.visible(),
                    context=make_decode_context(request, now),
                    now=now,
                )
                if done.has_transitions:
                    await wake_dispatcher_if_possible(connection)
                return done
        except DATABASE_ERRORS as error:
            if not is_transient(error):
                raise
            _log.warning("replay_tried_again", error=repr(error), left=left)
            await asyncio.sleep(0.05)
    raise UnavailableError("The database is not available now. Nothing was changed. Send the request again.")


@router.post(
    "/{entry_id}/replay",
    summary="Replay a quarantine entry",
    response_model=ReplayOutcome,
    responses=document_problems(400, 415),
)
async def replay_quarantine_entry(entry_id: str, request: Request, principal: Replayer) -> JSONResponse:
    """Store an entry as if it were received now, after the cause of its refusal was fixed.

    A replay is idempotent: the content is stored once. If nothing can be stored, the response has the status
    of the first reason, and the entry gets that reason. The box gets no acknowledgement.
    """
    identifier = parse_id(entry_id, "quarantine entry")
    done = await _replay(request, identifier, principal)
    counts = done.counts()
    _log.info("quarantine_entry_replayed", entry=str(identifier), key_id=str(principal.key_id), **counts)
    outcome = {**counts, "reasons": describe_rejections(done.refusals, done.withheld)}
    if done.refusals and sum(counts.values()) == len(done.refusals):
        first = done.refusals[0]
        return make_problem_response(
            get_rejection_status(first.code),
            first.code,
            first.detail,
            outcome,
            build_retry_header(first.code, datetime.now(UTC)),
        )
    return JSONResponse(outcome)


@router.post("/replay", summary="Replay several quarantine entries")
async def replay_quarantine(
    body: ReplayWanted,
    request: Request,
    principal: Replayer,
    database: DatabaseDependency,
) -> ReplaySummary:
    """Replay the entries that match, oldest first and independently. Entries that were replayed are skipped.

    A request ends after `limit` entries or after 20 seconds. Send its `next` as `cursor` to continue.
    """
    filters = QuarantineFilter(principal.visible(), body.box, body.code, body.door)
    after: UUID | None = None
    if body.cursor is not None:
        (after,) = decode_cursor(_CURSOR, body.cursor, UUID)
    async with database.read() as session:
        entries = await find_replayable_entries(session, filters, after, body.limit)
    found, after = await _replay_each(request, principal, entries, after)
    async with database.read() as session:
        left = await count_replayable_entries(session, filters, after)
    summary = _summary(found, left, encode_cursor(_CURSOR, str(after)) if left and after else None)
    _log.info(
        "quarantine_replayed",
        key_id=str(principal.key_id),
        tried=summary.tried,
        replayed=summary.replayed,
        stored=summary.stored,
    )
    return summary


async def _replay_each(
    request: Request, principal: Principal, entries: list[UUID], after: UUID | None
) -> tuple[list[ReplayResult], UUID | None]:
    """Replay entries one by one; returns the outcomes, and the last entry that was tried."""
    found: list[ReplayResult] = []
    deadline = time.monotonic() + _WITHIN_S
    for identifier in entries:
        if time.monotonic() > deadline:
            break
        try:
            found.append(await _replay(request, identifier, principal))
        except (ConflictError, NotFoundError):
            pass  # another request was faster
        except UnavailableError:
            if not found:
                raise
            break
        after = identifier
    return found, after


def _summary(found: list[ReplayResult], left: int, following: str | None) -> ReplaySummary:
    totals: Counter[str] = Counter()
    codes: Counter[str] = Counter()
    details: dict[str, str] = {}
    for each in found:
        totals.update(each.counts())
        for refusal in each.refusals:
            codes[refusal.code] += 1
            details.setdefault(refusal.code, refusal.detail)
    refused = sum(1 for each in found if each.refusals)
    counts = {name: totals[name] for name in ("stored", "duplicate", "conflict", "rejected", "superseded")}
    return ReplaySummary(
        tried=len(found),
        replayed=len(found) - refused,
        refused=refused,
        **counts,
        reasons=[
            ReplayReason(code=code, count=count, detail=details[code]) for code, count in codes.most_common()
        ],
        left=left,
        next=following,
    )
