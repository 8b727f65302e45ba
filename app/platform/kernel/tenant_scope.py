"""Defines the tenant scope of a request: the organisations and sites that it may access.

Holds the filter that every query for a caller uses (`TenantScope`), and the caller of the running task, which
`app.platform.db.database` passes to row-level security with each transaction. The two must agree: row-level
security protects a query that lacks the filter.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Final
from uuid import UUID

from sqlalchemy import ARRAY, ColumnElement, SQLColumnExpression, Uuid, any_, literal

from app.platform.kernel.errors import ForbiddenError
from app.platform.kernel.grant_limits import GrantLimits


@dataclass(frozen=True, slots=True)
class TenantScope:
    """The organisations and sites that a caller may access.

    Attributes:
        organisations: sorted ids; None: all organisations.
        sites: sorted ids of sites of these organisations; None: all their sites.
        grant: the limits of a third party that reads by a grant; None for all others.
    """

    organisations: tuple[UUID, ...] | None
    sites: tuple[UUID, ...] | None = None
    grant: GrantLimits | None = None

    @classmethod
    def of(cls, organisations: Iterable[UUID], sites: Iterable[UUID] | None = None) -> "TenantScope":
        """Make a scope of some organisations, and optionally of some of their sites only."""
        return cls(tuple(sorted(set(organisations))), None if sites is None else tuple(sorted(set(sites))))

    def includes(self, organisation_id: UUID | None, site_id: UUID | None = None) -> bool:
        """Return whether a resource of this organisation, and of this site if it has one, is in scope."""
        in_scope = self.organisations is None or organisation_id in self.organisations
        return in_scope and (site_id is None or self.sites is None or site_id in self.sites)

    def within(
        self,
        organisation: SQLColumnExpression[UUID] | SQLColumnExpression[UUID | None] | None,
        site: SQLColumnExpression[UUID] | SQLColumnExpression[UUID | None] | None = None,
    ) -> tuple[ColumnElement[bool], ...]:
        """Return the conditions that limit a query to the scope; none where everything is in scope.

        Args:
            organisation: the column with the owner's id; None where there is none.
            site: the column with the site's id; None for resources without a site.
        """
        found: list[ColumnElement[bool]] = []
        if self.organisations is not None and organisation is not None:
            found.append(_one_of(organisation, self.organisations))
        if self.sites is not None and site is not None:
            found.append(_one_of(site, self.sites))
        return tuple(found)

    def limit_to_grant[Value](
        self, site_id: UUID, time: datetime, values: Mapping[str, Value], *, came_at: datetime | None
    ) -> Mapping[str, Value]:
        """Return the values of a sample that the caller may read; none if its grant does not cover any.

        Args:
            site_id: the site of the box.
            time: the measurement time.
            values: by metric.
            came_at: when the box came to the site from another one; None: it was never elsewhere.
        """
        if self.grant is None:
            return values
        if not self.grant.covers(time) or (came_at is not None and time < came_at):
            return {}
        allowed = self.grant.at_site(site_id)
        return {name: value for name, value in values.items() if name in allowed}

    def check_metrics(self, names: Iterable[str]) -> None:
        """Refuse metrics that the caller's grant does not name (ForbiddenError `metric_not_granted`)."""
        if self.grant is None:
            return
        for name in names:
            if name not in self.grant.metrics:
                raise ForbiddenError(
                    f"The grant does not include the metric {name}. `GET /v1/grant` shows what it includes.",
                    code="metric_not_granted",
                )

    def may_read(self, site_id: UUID, metric: str) -> bool:
        """Return whether the caller may read a metric at a site; only a grant limits that."""
        return self.grant is None or metric in self.grant.at_site(site_id)

    def limit_to_site(
        self, span: tuple[datetime, datetime], came_at: datetime | None
    ) -> tuple[datetime, datetime]:
        """Limit a time range to a box's time at its present site; only a grant limits that.

        Args:
            span: start and end (exclusive).
            came_at: when the box came to the site from another one; None: it was never elsewhere.

        Returns:
            The range, whose start is its end if the box came later.
        """
        if self.grant is None or came_at is None:
            return span
        return min(max(span[0], came_at), span[1]), span[1]

    def find_sites(self, metric: str) -> tuple[UUID, ...] | None:
        """Return the only sites at which the caller may read a metric; None: all in scope."""
        if self.grant is None:
            return None
        return tuple(site for site, metrics in self.grant.site_metrics if metric in metrics)

    def limit_span(self, first: datetime, last: datetime) -> tuple[datetime, datetime]:
        """Limit a time range, whose end is exclusive, to that of the caller's grant.

        Raises:
            ForbiddenError: `outside_grant`: the grant covers no part of it.
        """
        if self.grant is None:
            return first, last
        begin, end = self.grant.first, self.grant.last
        limited = first if begin is None else max(first, begin), last if end is None else min(last, end)
        if limited[0] >= limited[1]:
            raise ForbiddenError(
                "The grant does not cover the requested time. `GET /v1/grant` shows the time that it covers.",
                code="outside_grant",
                extra={"from": _format_bound(begin), "until": _format_bound(end)},
            )
        return limited


def _one_of(
    column: SQLColumnExpression[UUID] | SQLColumnExpression[UUID | None], ids: tuple[UUID, ...]
) -> ColumnElement[bool]:
    # An index returns its remaining columns in order only for equality with one value.
    if len(ids) == 1:
        return column == ids[0]
    # One array parameter: a statement can have 32,767 parameters, and each takes time to bind.
    return column == any_(literal(list(ids), ARRAY(Uuid)))


def _format_bound(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat()


FULL_SCOPE: Final = TenantScope(None)
EMPTY_SCOPE: Final = TenantScope(())


@dataclass(frozen=True, slots=True)
class ScopedCaller:
    """The caller of a transaction.

    Attributes:
        tenant_scope: the organisations and sites that it may access.
        actor: the caller as the audit log records it (JSON); empty for the program itself.
        tree: the integrator, or the organisation, with which it shares limits and queues; None: callers of
            the same scope.
    """

    tenant_scope: TenantScope
    actor: str = ""
    tree: UUID | None = None
    scope_settings: dict[str, str] = field(init=False, repr=False, compare=False)
    """The settings that row-level security reads."""

    def __post_init__(self) -> None:
        """Format the settings once, as a caller has many transactions."""
        scope = self.tenant_scope
        reach = "all" if scope.organisations is None else ",".join(map(str, scope.organisations))
        # An empty list of sites must differ from no list: the nil UUID is the id of no site.
        sites = "" if scope.sites is None else ",".join(map(str, scope.sites)) or _NO_SITE
        # Always set, as a pooled connection keeps its settings.
        grant = "" if scope.grant is None else str(scope.grant.grant_id)
        settings = {"vigie.reach": reach, "vigie.sites": sites, "vigie.grant": grant}
        object.__setattr__(self, "scope_settings", settings)

    def settings(self) -> dict[str, str]:
        """Return the transaction's settings that row-level security and the audit log read."""
        return {**self.scope_settings, "vigie.actor": self.actor, "vigie.origin": _format_origin()}


def format_actor(kind: str, identifier: object, name: str) -> str:
    """Format a caller for the audit log, as JSON.

    Args:
        kind: `key`, `user`, `claim` …
        identifier: its id; None where there is none.
        name: its display name.
    """
    actor = {"kind": kind, "id": None if identifier is None else str(identifier), "name": name}
    return json.dumps(actor, ensure_ascii=False)


def set_request_origin(address: str | None, request_id: str | None) -> None:
    """Set the origin of this task's work, for the audit log.

    Args:
        address: the client's address.
        request_id: the request's id, which the log has too.
    """
    _ORIGIN.set((address, request_id))


def _format_origin() -> str:
    origin = _ORIGIN.get()
    if origin is None:
        return ""
    address, request_id = origin
    return json.dumps({"address": address, "request_id": request_id})


_NO_SITE: Final = str(UUID(int=0))
NO_CALLER: Final = ScopedCaller(EMPTY_SCOPE)
_CALLER: ContextVar[ScopedCaller] = ContextVar("vigie_caller", default=NO_CALLER)
_ORIGIN: ContextVar[tuple[str | None, str | None] | None] = ContextVar("vigie_origin", default=None)


def current_caller() -> ScopedCaller:
    """Return the caller of this task; NO_CALLER, which has access to nothing, where none was set."""
    return _CALLER.get()


def set_current_caller(caller: ScopedCaller) -> None:
    """Set the caller for the rest of this task."""
    _CALLER.set(caller)


@contextmanager
def run_as_caller(caller: ScopedCaller) -> Iterator[None]:
    """Set the caller within a block, and restore the previous one afterwards."""
    token = _CALLER.set(caller)
    try:
        yield
    finally:
        _CALLER.reset(token)


@contextmanager
def run_with_full_scope() -> Iterator[None]:
    """Give access to everything within a block, for data without a tenant or before the tenant is known.

    The audit log still records the caller.
    """
    with run_as_caller(replace(current_caller(), tenant_scope=FULL_SCOPE)):
        yield
