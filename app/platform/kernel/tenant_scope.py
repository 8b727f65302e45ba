"""How far a caller reaches: which organisations, and which of their sites.

Owns the filter that every query for a caller has (`TenantScope`), and the caller of the running request, whom
the database's row-level security is told of with each transaction (`app.platform.db.database`). The two are
to agree: a query that forgets the one is held by the other.
"""

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import Final
from uuid import UUID

from sqlalchemy import ARRAY, ColumnElement, SQLColumnExpression, Uuid, any_, literal


@dataclass(frozen=True, slots=True)
class TenantScope:
    """What a caller may see.

    Attributes:
        organisations: sorted; None: all of them.
        sites: of these organisations, sorted; None: all of them.
    """

    organisations: tuple[UUID, ...] | None
    sites: tuple[UUID, ...] | None = None

    @classmethod
    def of(cls, organisations: Iterable[UUID], sites: Iterable[UUID] | None = None) -> "TenantScope":
        """Some organisations, and perhaps only some of their sites."""
        return cls(tuple(sorted(set(organisations))), None if sites is None else tuple(sorted(set(sites))))

    def includes(self, organisation_id: UUID | None, site_id: UUID | None = None) -> bool:
        """Tell whether something of this organisation, and at this site where it is at one, is in reach."""
        mine = self.organisations is None or organisation_id in self.organisations
        return mine and (site_id is None or self.sites is None or site_id in self.sites)

    def within(
        self,
        organisation: SQLColumnExpression[UUID] | SQLColumnExpression[UUID | None] | None,
        site: SQLColumnExpression[UUID] | SQLColumnExpression[UUID | None] | None = None,
    ) -> tuple[ColumnElement[bool], ...]:
        """Conditions of a query: none where all is in reach.

        Args:
            organisation: the column with the owner's id; None where there is none.
            site: the one with the site's id; None for what is at no site.
        """
        found: list[ColumnElement[bool]] = []
        if self.organisations is not None and organisation is not None:
            found.append(_one_of(organisation, self.organisations))
        if self.sites is not None and site is not None:
            found.append(_one_of(site, self.sites))
        return tuple(found)


def _one_of(
    column: SQLColumnExpression[UUID] | SQLColumnExpression[UUID | None], wanted: tuple[UUID, ...]
) -> ColumnElement[bool]:
    # Only of what is equal to one value does an index have the rest in order.
    if len(wanted) == 1:
        return column == wanted[0]
    # One parameter, however many there are: a statement can have 32,767, and each costs the time to bind it.
    return column == any_(literal(list(wanted), ARRAY(Uuid)))


FULL_SCOPE: Final = TenantScope(None)
EMPTY_SCOPE: Final = TenantScope(())


@dataclass(frozen=True, slots=True)
class ScopedCaller:
    """Whom a transaction is for.

    Attributes:
        reach: what it may see.
        actor: who it is, as the audit log has it (JSON); empty for the program itself.
        tree: with whom it takes turns: its integrator, or its organisation; None: those of the same reach.
    """

    reach: TenantScope
    actor: str = ""
    tree: UUID | None = None

    def settings(self) -> dict[str, str]:
        """The transaction's settings that row-level security goes by, and the audit log."""
        reach = self.reach
        return {
            "vigie.reach": "all" if reach.organisations is None else ",".join(map(str, reach.organisations)),
            # No id is nobody's site: an empty list has to be told from none.
            "vigie.sites": "" if reach.sites is None else ",".join(map(str, reach.sites)) or _NO_SITE,
            "vigie.actor": self.actor,
            "vigie.origin": _ORIGIN.get(),
        }


def format_actor(kind: str, identifier: object, name: str) -> str:
    """How the audit log names somebody.

    Args:
        kind: `key`, `user`, `claim` …
        identifier: its id; None where there is none.
        name: what people call it.
    """
    told = {"kind": kind, "id": None if identifier is None else str(identifier), "name": name}
    return json.dumps(told, ensure_ascii=False)


def set_request_origin(address: str | None, request_id: str | None) -> None:
    """Say where what this task works on came from: the audit log has it.

    Args:
        address: the client's.
        request_id: the request's, which the program's own log has too.
    """
    _ORIGIN.set(json.dumps({"address": address, "request_id": request_id}))


_NO_SITE: Final = str(UUID(int=0))
NO_CALLER: Final = ScopedCaller(EMPTY_SCOPE)
_CALLER: ContextVar[ScopedCaller] = ContextVar("vigie_caller", default=NO_CALLER)
_ORIGIN: ContextVar[str] = ContextVar("vigie_origin", default="")


def current_caller() -> ScopedCaller:
    """Whom this task works for; nobody, who sees nothing, where nothing was said."""
    return _CALLER.get()


def set_current_caller(caller: ScopedCaller) -> None:
    """From now on this task works for a caller."""
    _CALLER.set(caller)


@contextmanager
def run_as_caller(caller: ScopedCaller) -> Iterator[None]:
    """Work for a caller within a block, and for whoever it was afterwards."""
    token = _CALLER.set(caller)
    try:
        yield
    finally:
        _CALLER.reset(token)


@contextmanager
def run_with_full_scope() -> Iterator[None]:
    """Work for the program itself within a block: on what is nobody's, or before it is known whose it is.

    Who asked stays in the audit log.
    """
    with run_as_caller(replace(current_caller(), reach=FULL_SCOPE)):
        yield
