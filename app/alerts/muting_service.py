"""What follows from making, changing and ending silences and inhibitions. Must not know HTTP.

Nothing is decided about alerts here: what fires from the commit on is judged by the recorder, what fires
already by the sweep.

The windows of a schedule, and local times: from when to when a silence mutes. Pure.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple
from uuid import UUID
from zoneinfo import ZoneInfo

from app.alerts import muting_repository, repository
from app.alerts.models import Inhibition, Silence
from app.alerts.muting_repository import SilenceWithState
from app.alerts.muting_schemas import InhibitionCreate, LocalTime, Matchers, SilenceCreate
from app.platform.db.database import WriteSession
from app.platform.http.contract.etags import skip_precondition
from app.platform.identity.principals import Principal
from app.platform.kernel.errors import ConflictError, InvalidError, NotFoundError
from app.platform.kernel.ids import new_id
from app.platform.kernel.instants import from_datetime, parse_iso_duration, to_datetime
from app.platform.kernel.tenant_scope import FULL_SCOPE, TenantScope
from app.platform.kernel.weekly_hours import find_local_instant, make_weekly_hours
from app.registry.models import Site
from app.registry.repository import lock_sites
from app.registry.service import resolve_organisation


class SilenceWindow(NamedTuple):
    """A time that goes from `start` (None: never) to `end` (None: for ever)."""

    start: datetime | None
    end: datetime | None


def find_next_window(schedule: Sequence[Mapping[str, Any]], timezone: str, now: datetime) -> SilenceWindow:
    """Give the window that is on, or else the next one.

    Args:
        schedule: spans as `app.platform.kernel.weekly_hours.make_weekly_hours` takes them.
        timezone: the name of an IANA zone, in which they are meant.
        now: aware. It is the start of a window that is on.
    """
    hours = make_weekly_hours(schedule, timezone)
    start: int | None = from_datetime(now)
    if not hours.active(from_datetime(now)):
        start = hours.next_change(from_datetime(now))
    if start is None:
        return SilenceWindow(None, None)
    end = hours.next_change(start)
    return SilenceWindow(to_datetime(start), None if end is None else to_datetime(end))


def resolve_silence_end(until: LocalTime, timezone: str, begin: datetime) -> datetime:
    """Find when a silence ends that ends at a local time.

    Args:
        until: the time, and of which day it is, counted from the day of `begin`.
        timezone: the name of an IANA zone. Of a time that does not exist there on that day the moment is
            meant at which the clock jumps; of one that exists twice the second.
        begin: when the silence begins, aware.
    """
    zone = ZoneInfo(timezone)
    hours, minutes = map(int, until.time.split(":"))
    today, time = begin.astimezone(zone).toordinal(), 60 * hours + minutes
    if until.days is not None:
        return to_datetime(find_local_instant(today + until.days, time, zone, second=True))
    soonest = to_datetime(find_local_instant(today, time, zone, second=True))
    return soonest if soonest > begin else to_datetime(find_local_instant(today + 1, time, zone, second=True))


MAX_SILENCES: Final = 500
"""Silences of one organisation that are pending or active: each is compared with each alert that fires."""
MAX_INHIBITIONS: Final = 100
"""Inhibitions of one organisation."""


async def add_silence(
    session: WriteSession, principal: Principal, wanted: SilenceCreate, now: datetime
) -> SilenceWithState:
    """Make a silence.

    Raises:
        NotFoundError: the organisation, the alert, a site or a rule of the matchers is not there.
        InvalidError: `foreign_organisation`, `organisation_required`, `invalid_end`, `timezone_required`,
            `too_many_silences`.
    """
    owner, matchers = await _meant(session, principal, wanted)
    sites = await _check(session, matchers, owner)
    clock = await repository.read_database_clock(session)
    starts_at = clock if wanted.starts_at is None else wanted.starts_at
    ends_at = wanted.ends_at
    if wanted.duration is not None:
        ends_at = starts_at + timedelta(seconds=parse_iso_duration(wanted.duration))
    elif wanted.until is not None:
        zone = wanted.timezone or await _local_zone(session, matchers)
        ends_at = resolve_silence_end(wanted.until, zone, max(starts_at, clock))
    if ends_at is not None:
        _check_end(ends_at, starts_at, clock)
    schedule, timezone, window = None, None, SilenceWindow(None, None)
    if wanted.schedule is not None:
        schedule = [span.stored() for span in wanted.schedule]
        timezone = wanted.timezone or _timezone(sites)
        window = find_next_window(schedule, timezone, max(starts_at, clock))
    await _check_room(session, owner)
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
        author=wanted.author or principal.name,
        comment=wanted.comment,
        created_by=principal.key_id,
        created_at=now,
        updated_at=now,
    )
    session.add(silence)
    await session.flush()
    return await muting_repository.find_silence(session, silence.id, FULL_SCOPE)


async def change_silence(
    session: WriteSession,
    principal: Principal,
    silence_id: UUID,
    fields: Mapping[str, Any],
    now: datetime,
    *,
    check: Callable[[SilenceWithState], None] = skip_precondition,
) -> SilenceWithState:
    """Change a silence that passes a check and has not expired: its matchers, its end, its comment.

    Raises:
        NotFoundError: no such silence, or a site or a rule of the matchers is not there.
        ConflictError: `silence_expired`.
        InvalidError: `invalid_end`, `timezone_required`.
    """
    silence = await _not_expired(session, principal, silence_id, check)
    clock = await repository.read_database_clock(session)
    for name, value in fields.items():
        if isinstance(value, Matchers):
            await _check(session, value, silence.organisation_id)
            silence.matchers = value.stored()
        elif name in {"ends_at", "duration", "until"}:
            if value is not None:
                silence.ends_at = await _new_end(session, silence, value, clock)
                _check_end(silence.ends_at, silence.starts_at, clock)
        else:
            setattr(silence, name, value)
    if fields:
        silence.updated_at = now
    await session.flush()
    return await muting_repository.find_silence(session, silence.id, FULL_SCOPE)


async def expire_silence(
    session: WriteSession, principal: Principal, silence_id: UUID, now: datetime
) -> SilenceWithState:
    """End a silence now, also one that has not begun. One that has expired stays as it is.

    Raises:
        NotFoundError: no such silence.
    """
    silence, state, _ = await muting_repository.find_silence(
        session, silence_id, principal.visible(), lock=True
    )
    if state == "expired":
        return SilenceWithState(silence, state, None)
    silence.ends_at = await repository.read_database_clock(session)
    silence.updated_at = now
    await session.flush()
    return await muting_repository.find_silence(session, silence.id, FULL_SCOPE)


async def add_inhibition(
    session: WriteSession, principal: Principal, wanted: InhibitionCreate, now: datetime
) -> Inhibition:
    """Make an inhibition.

    Raises:
        NotFoundError: the organisation, a site or a rule of the matchers is not there.
        InvalidError: `foreign_organisation`, `organisation_required`, `too_many_inhibitions`.
    """
    owner = await _owner(session, principal, wanted.organisation_id, wanted.source, wanted.target)
    for matchers in (wanted.source, wanted.target):
        await _check(session, matchers, owner)
    if await muting_repository.count_inhibitions(session, owner) >= MAX_INHIBITIONS:
        raise InvalidError(
            f"There are {MAX_INHIBITIONS} inhibitions, which is all that an organisation may have. Delete "
            "some, or say it in fewer: one takes up to 200 entries in each list.",
            code="too_many_inhibitions",
        )
    inhibition = Inhibition(
        id=new_id(),
        organisation_id=owner,
        name=wanted.name,
        source=wanted.source.stored(),
        target=wanted.target.stored(),
        equal=list(wanted.equal),
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
    """Change what is given of an inhibition that passes a check (errors as for a new one)."""
    found = await muting_repository.find_inhibition(session, inhibition_id, principal.visible(), lock=True)
    check(found)
    for name, value in fields.items():
        if isinstance(value, Matchers):
            await _check(session, value, found.organisation_id)
            setattr(found, name, value.stored())
        else:
            setattr(found, name, value)
    if fields:
        found.updated_at = now
    await session.flush()
    return found


async def _not_expired(
    session: WriteSession, principal: Principal, silence_id: UUID, check: Callable[[SilenceWithState], None]
) -> Silence:
    known = await muting_repository.find_silence(session, silence_id, principal.visible(), lock=True)
    check(known)
    silence, state, _ = known
    if state == "expired":
        raise ConflictError("The silence has expired: make a new one.", code="silence_expired")
    return silence


async def _meant(session: WriteSession, principal: Principal, wanted: SilenceCreate) -> tuple[UUID, Matchers]:
    """Whose a new silence is, and which alerts it matches.

    Raises:
        NotFoundError: no such alert, or another organisation's than the one that is named.
    """
    if wanted.alert_id is None:
        matchers = wanted.matchers or Matchers()
        return await _owner(session, principal, wanted.organisation_id, matchers), matchers
    alert, _ = await repository.find_alert(session, wanted.alert_id, principal.visible())
    if wanted.organisation_id not in {None, alert.organisation_id}:
        raise NotFoundError("alert", wanted.alert_id)
    boxes = None if alert.box is None else [alert.box]
    return alert.organisation_id, Matchers(rule_ids=[alert.rule_id], boxes=boxes)


async def _new_end(
    session: WriteSession, silence: Silence, value: datetime | str | LocalTime, clock: datetime
) -> datetime:
    """When a silence ends whose end is changed: at a time, after a duration, or at a local time."""
    if isinstance(value, datetime):
        return value
    begin = max(silence.starts_at, clock)
    if isinstance(value, str):
        return begin + timedelta(seconds=parse_iso_duration(value))
    matchers = Matchers.model_validate(silence.matchers, strict=False)
    return resolve_silence_end(value, silence.timezone or await _local_zone(session, matchers), begin)


async def _local_zone(session: WriteSession, matchers: Matchers) -> str:
    """The time zone that the sites share which matchers name, by themselves, by rules or by boxes.

    Raises:
        InvalidError: `timezone_required`.
    """
    zones = await muting_repository.find_timezones(
        session,
        site_ids=matchers.site_ids or [],
        rule_ids=matchers.rule_ids or [],
        boxes=matchers.boxes or [],
    )
    if len(zones) != 1:
        raise InvalidError(
            "Say in which `timezone` the time of `until` is: no site is named, or sites of several zones.",
            code="timezone_required",
        )
    return zones.pop()


async def _owner(
    session: WriteSession, principal: Principal, named: UUID | None, *matchers: Matchers
) -> UUID:
    """Whose a new silence or inhibition is.

    An administrator who names no organisation means that of the sites, rules and boxes in the matchers: those
    of the administrator's own one would mute nothing.

    Raises:
        NotFoundError: the organisation is not there.
        InvalidError: `foreign_organisation`; `organisation_required`: the matchers name nothing that there
            is, or things of several organisations.
    """
    if named is not None or not principal.platform:
        return (await resolve_organisation(session, principal, named)).id
    owners = await muting_repository.find_owners(
        session,
        site_ids=[each for given in matchers for each in given.site_ids or []],
        rule_ids=[each for given in matchers for each in given.rule_ids or []],
        boxes=[each for given in matchers for each in given.boxes or []],
    )
    if len(owners) != 1:
        raise InvalidError(
            "Give `organisation_id`: the key is an administrator's, and the matchers do not name sites, "
            "rules or boxes of just one organisation.",
            code="organisation_required",
        )
    return owners.pop()


async def _check(session: WriteSession, matchers: Matchers, owner: UUID) -> dict[UUID, Site]:
    """Refuse sites and rules that are not the organisation's (NotFoundError); give the sites."""
    site_ids, rule_ids = matchers.site_ids or [], matchers.rule_ids or []
    sites = await lock_sites(session, site_ids, TenantScope.of([owner])) if site_ids else {}
    for site_id in site_ids:
        if site_id not in sites:
            raise NotFoundError("site", site_id)
    rules = await muting_repository.find_owned_rules(session, rule_ids, owner) if rule_ids else set()
    for rule_id in rule_ids:
        if rule_id not in rules:
            raise NotFoundError("rule", rule_id)
    return sites


def _check_end(ends_at: datetime, starts_at: datetime, clock: datetime) -> None:
    if ends_at <= max(starts_at, clock):
        raise InvalidError(
            f"It ends at {ends_at:%Y-%m-%dT%H:%M:%SZ}, which has passed or is "
            "not after `starts_at`. To end a silence now: POST …/expire.",
            code="invalid_end",
        )


async def _check_room(session: WriteSession, owner: UUID) -> None:
    if await muting_repository.count_silences(session, owner) >= MAX_SILENCES:
        raise InvalidError(
            f"There are {MAX_SILENCES} silences that are pending or active, which is all that an "
            "organisation may have. End some (POST …/expire), or say it in fewer: one silence takes up to "
            "200 entries in each list, and a site or a tag stands for many boxes.",
            code="too_many_silences",
        )


def _timezone(sites: Mapping[UUID, Site]) -> str:
    zones = {site.timezone for site in sites.values()}
    if len(zones) != 1:
        raise InvalidError(
            "Say in which `timezone` the schedule is meant: `matchers` names no site, or sites of several.",
            code="timezone_required",
        )
    return zones.pop()
