"""How far a caller reaches, as a condition of a query."""

from uuid import UUID

from sqlalchemy import Uuid, column, select
from sqlalchemy.dialects import postgresql

from app.platform.kernel.tenant_scope import EMPTY_SCOPE, TenantScope

OWNER = column("organisation_id", Uuid)


def where(reach: TenantScope) -> tuple[str, int]:
    """The conditions of a query, and how many parameters they have."""
    dialect = postgresql.asyncpg.dialect()  # type: ignore[no-untyped-call] # as SQLAlchemy has it
    made = select(OWNER).where(*reach.within(OWNER)).compile(dialect=dialect)
    return str(made).partition("WHERE ")[2], len(made.params)


def test_however_many_are_reached_they_are_one_parameter() -> None:
    many = [UUID(int=number) for number in range(40_000)]
    assert where(TenantScope.of(many)) == ("organisation_id = ANY ($1::UUID[])", 1)
    assert where(TenantScope.of(many[:2])) == where(TenantScope.of(many)) == where(EMPTY_SCOPE)
    assert where(TenantScope.of(many[:1])) == ("organisation_id = $1::UUID", 1)
