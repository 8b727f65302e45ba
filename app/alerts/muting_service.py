"""Creates, changes and ends silences and inhibitions.

Alerts are not changed here: after the commit, the transition recorder applies mutings to new alerts, and the
alert timers to firing ones.
"""

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

from app.alerts import muting_api_queries, repository
from app.alerts.models import Inhibition, Silence
from app.alerts.muting_api_queries import SilenceWithState
from app.alerts.muting_schemas import InhibitionCreate, LocalTime, Matchers, SilenceCreate
from app.alerts.silence_times import SilenceWindow, find_next_window, resolve_silence_end
from app.platform.db.database import WriteSession
from app.platform.http.contract.etags import skip_precondition
from app.platform.identity.caller_authentication import Principal
from app.platform.kernel.errors import ConflictError, InvalidError, NotFoundError
from app.platform.kernel.ids import new_id
from app.platform.kernel.instants import parse_iso_duration
from app.platform.kernel.tenant_scope import FULL_SCOPE, TenantScope
from app.registry.box_service import resolve_organisation
from app.registry.models import Site
from app.registry.site_repository import lock_sites

MAX_SILENCES: Final = 500
"""The most pending and active silences of an organisation: each is compared with each firing alert."""
MAX_INHIBITIONS: Final = 100
"""The most inhibitions of an organisation."""


async def add_silence(
    session: WriteSession, principal: Principal, body: SilenceCreate, now: datetime
) -> SilenceWithState:
    """Create a silence.

    Args:
        session: the transaction.
        principal: the caller.
        body: the request body.
        now: the current time, aware.

    Raises:
        NotFoundError: the organisation, the alert, a site or a rule of the matchers does not exist.
        InvalidError: `foreign_organisation`, `organisation_required`, `invalid_end`, `timezone_required`,
            `too_many_silences`.
    """
    owner, matchers = await _resolve_target(session, principal, body)
    sites = await _check_matchers(session, matchers, owner)
    clock = await repository.read_database_clock(session)
    starts_at = clock if body.starts_at is None else body.starts_at
    ends_at = body.ends_at
    if body.duration is not None:
        ends_at = starts_at + timedelta(seconds=parse_iso_duration(body.duration))
    elif body.until is not None:
        zone = body.timezone or await _find_common_timezone(session, matchers)
        ends_at = resolve_silence_end(body.until, zone, max(starts_at, clock))
    if ends_at is not None:
        _check_end(ends_at, starts_at, clock)
    schedule, timezone, window = None, None, SilenceWindow(None, None)
    if body.schedule is not None:
        schedule = [span.stored() for span in body.schedule]
        timezone = body.timezone or _get_schedule_timezone(sites)
        window = find_next_window(schedule, timezone, max(starts_at, clock))
    await _check_limit(session, owner)
    silence = Silence(
        id=new_id(),
        organisation_id=owner,
        matchers=matchers.stored(),
        starts_at=starts_at,
        ends_at=ends_at,
        schedule=schedule,
        timezone=timezone,
        window_start=window.start,
        window_end=window.end,
        author=body.author or principal.name,
        comment=body.comment,
        created_by=principal.key_id,
        created_at=now,
        updated_at=now,
    )
    session.add(silence)
    await session.flush()
    return await muting_api_queries.find_silence(session, silence.id, FULL_SCOPE)


async def change_silence(
    session: WriteSession,
    principal: Principal,
    silence_id: UUID,
    fields: Mapping[str, Any],
    now: datetime,
    *,
    check: Callable[[SilenceWithState], None] = skip_precondition,
) -> SilenceWithState:
    """Change the matchers, the end or the comment of a silence that has not expired.

    Args:
        session: the transaction.
        principal: the caller.
        silence_id: the silence.
        fields: the fields of the request body that were sent.
        now: the current time, aware.
        check: checks the row before the change (`If-Match`).

    Raises:
        NotFoundError: no such silence, or a site or a rule of the matchers does not exist.
        ConflictError: `silence_expired`.
        InvalidError: `invalid_end`, `timezone_required`.
    """
    silence = await _lock_unexpired(session, principal, silence_id, check)
    clock = await repository.read_database_clock(session)
    for name, value in fields.items():
        if isinstance(value, Matchers):
            await _check_matchers(session, value, silence.organisation_id)
            silence.matchers = value.stored()
        elif name in {"ends_at", "duration", "until"}:
            if value is not None:
                silence.ends_at = await _resolve_new_end(session, silence, value, clock)
                _check_end(silence.ends_at, silence.starts_at, clock)
        else:
            setattr(silence, name, value)
    if fields:
        silence.updated_at = now
    await session.flush()
    return await muting_api_queries.find_silence(session, silence.id, FULL_SCOPE)


async def expire_silence(
    session: WriteSession, principal: Principal, silence_id: UUID, now: datetime
) -> SilenceWithState:
    """End a silence now, also before its start. An expired silence is not changed.

    Args:
        session: the transaction.
        principal: the caller.
        silence_id: the silence.
        now: the current time, aware.

    Raises:
        NotFoundError: no such silence.
    """
    silence, state, _ = await muting_api_queries.find_silence(
        session, silence_id, principal.visible(), lock=True
    )
    if state == "expired":
        return SilenceWithState(silence, state, None)
    silence.ends_at = await repository.read_database_clock(session)
    silence.updated_at = now
    await session.flush()
    return await muting_api_queries.find_silence(session, silence.id, FULL_SCOPE)


async def add_inhibition(
    session: WriteSession, principal: Principal, body: InhibitionCreate, now: datetime
) -> Inhibition:
    """Create an inhibition.

    Args:
        session: the transaction.
        principal: the caller.
        body: the request body.
        now: the current time, aware.

    Raises:
        NotFoundError: the organisation, a site or a rule of the matchers does not exist.
        InvalidError: `foreign_organisation`, `organisation_required`, `too_many_inhibitions`.
    """
    owner = await _resolve_owner(session, principal, body.organisation_id, body.source, body.target)
    for matchers in (body.source, body.target):
        await _check_matchers(session, matchers, owner)
    if await muting_api_queries.count_inhibitions(session, owner) >= MAX_INHIBITIONS:
        raise InvalidError(
            f"The organisation has {MAX_INHIBITIONS} inhibitions, which is the limit. Delete some, or merge "
            "some: an inhibition takes up to 200 entries in each list.",
            code="too_many_inhibitions",
        )
    inhibition = Inhibition(
        id=new_id(),
        organisation_id=owner,
        name=body.name,
        source=body.source.stored(),
        target=body.target.stored(),
        equal=list(body.equal),
        created_at=now,
        updated_at=now,
    )
    session.add(inhibition)
    await session.flush()
    return inhibition


async def change_inhibition(
    session: WriteSession,
    principal: Principal,
    inhibition_id: UUID,
    fields: Mapping[str, Any],
    now: datetime,
    *,
    check: Callable[[Inhibition], None] = skip_precondition,
) -> Inhibition:
    """Change an inhibition.

    Args:
        session: the transaction.
        principal: the caller.
        inhibition_id: the inhibition.
        fields: the fields of the request body that were sent.
        now: the current time, aware.
        check: checks the row before the change (`If-Match`).

    Raises:
        NotFoundError: no such inhibition, or a site or a rule of the matchers does not exist.
    """
    found = await muting_api_queries.find_inhibition(session, inhibition_id, principal.visible(), lock=True)
    check(found)
    for name, value in fields.items():
        if isinstance(value, Matchers):
            await _check_matchers(session, value, found.organisation_id)
            setattr(found, name, value.stored())
        else:
            setattr(found, name, value)
    if fields:
        found.updated_at = now
    await session.flush()
    return found


async def _lock_unexpired(
    session: WriteSession, principal: Principal, silence_id: UUID, check: Callable[[SilenceWithState], None]
) -> Silence:
    found = await muting_api_queries.find_silence(session, silence_id, principal.visible(), lock=True)
    check(found)
    silence, state, _ = found
    if state == "expired":
        raise ConflictError("The silence has expired. Create a new one.", code="silence_expired")
    return silence


async def _resolve_target(
    session: WriteSession, principal: Principal, body: SilenceCreate
) -> tuple[UUID, Matchers]:
    """Resolve the organisation of a new silence, and its matchers.

    Raises:
        NotFoundError: no such alert, or it belongs to another organisation than the given one.
    """
    if body.alert_id is None:
        matchers = body.matchers or Matchers()
        return await _resolve_owner(session, principal, body.organisation_id, matchers), matchers
    alert, _ = await repository.find_alert(session, body.alert_id, principal.visible())
    if body.organisation_id not in {None, alert.organisation_id}:
        raise NotFoundError("alert", body.alert_id)
    boxes = None if alert.box is None else [alert.box]
    return alert.organisation_id, Matchers(rule_ids=[alert.rule_id], boxes=boxes)


async def _resolve_new_end(
    session: WriteSession, silence: Silence, value: datetime | str | LocalTime, clock: datetime
) -> datetime:
    """Resolve the changed end of a silence: an instant, a duration, or a local time."""
    if isinstance(value, datetime):
        return value
    begin = max(silence.starts_at, clock)
    if isinstance(value, str):
        return begin + timedelta(seconds=parse_iso_duration(value))
    matchers = Matchers.model_validate(silence.matchers, strict=False)
    timezone = silence.timezone or await _find_common_timezone(session, matchers)
    return resolve_silence_end(value, timezone, begin)


async def _find_common_timezone(session: WriteSession, matchers: Matchers) -> str:
    """Find the time zone that all sites share that matchers name directly, by rules or by boxes.

    Raises:
        InvalidError: `timezone_required`.
    """
    zones = await muting_api_queries.find_timezones(
        session,
        site_ids=matchers.site_ids or [],
        rule_ids=matchers.rule_ids or [],
        boxes=matchers.boxes or [],
    )
    if len(zones) != 1:
        raise InvalidError(
            "`until` needs a time zone: the matchers name no site, or sites in several time zones. Add "
            "`timezone`.",
            code="timezone_required",
        )
    return zones.pop()


async def _resolve_owner(
    session: WriteSession, principal: Principal, named: UUID | None, *matchers: Matchers
) -> UUID:
    """Resolve the organisation of a new silence or inhibition.

    For an administrator without `organisation_id` it is that of the sites, rules and boxes in the matchers:
    in the administrator's own organisation they would match nothing.

    Raises:
        NotFoundError: the organisation does not exist.
        InvalidError: `foreign_organisation`; `organisation_required`: the matchers name nothing that exists,
            or resources of several organisations.
    """
    if named is not None or not principal.platform:
        return (await resolve_organisation(session, principal, named)).id
    owners = await muting_api_queries.find_owners(
        session,
        site_ids=[each for given in matchers for each in given.site_ids or []],
        rule_ids=[each for given in matchers for each in given.rule_ids or []],
        boxes=[each for given in matchers for each in given.boxes or []],
    )
    if len(owners) != 1:
        raise InvalidError(
            "An administrator's request needs `organisation_id`, unless the matchers name sites, rules or "
            "boxes of exactly one organisation. Add `organisation_id`.",
            code="organisation_required",
        )
    return owners.pop()


async def _check_matchers(session: WriteSession, matchers: Matchers, owner: UUID) -> dict[UUID, Site]:
    """Check that sites and rules belong to the organisation (NotFoundError); returns the sites."""
    site_ids, rule_ids = matchers.site_ids or [], matchers.rule_ids or []
    sites = await lock_sites(session, site_ids, TenantScope.of([owner])) if site_ids else {}
    for site_id in site_ids:
        if site_id not in sites:
            raise NotFoundError("site", site_id)
    rules = await muting_api_queries.find_owned_rules(session, rule_ids, owner) if rule_ids else set()
    for rule_id in rule_ids:
        if rule_id not in rules:
            raise NotFoundError("rule", rule_id)
    return sites


def _check_end(ends_at: datetime, starts_at: datetime, clock: datetime) -> None:
    if ends_at <= max(starts_at, clock):
        raise InvalidError(
            f"The end {ends_at:%Y-%m-%dT%H:%M:%SZ} has passed, or is not after `starts_at`. Choose a later "
            "end. To end a silence now, use POST …/expire.",
            code="invalid_end",
        )


async def _check_limit(session: WriteSession, owner: UUID) -> None:
    if await muting_api_queries.count_silences(session, owner) >= MAX_SILENCES:
        raise InvalidError(
            f"The organisation has {MAX_SILENCES} pending or active silences, which is the limit. End some "
            "(POST …/expire), or merge some: a silence takes up to 200 entries in "
            "each list, and a site or a tag can match many boxes.",
            code="too_many_silences",
        )


def _get_schedule_timezone(sites: Mapping[UUID, Site]) -> str:
    zones = {site.timezone for site in sites.values()}
    if len(zones) != 1:
        raise InvalidError(
            "The schedule needs a time zone: the matchers name no site, or sites in several time zones. Add "
            "`timezone`.",
            code="timezone_required",
        )
    return zones.pop()
