"""Quotas: how much an organisation may have, what it has, and the refusal of what exceeds it.

A quota that an organisation was given holds for it; of an integrator it holds for it and its clients
together. Who was given none is held by the installation's default, each by itself. So what a client makes can
be refused for its integrator's quota, of which it is told nothing but that.

Must not know samples: ingest takes room for those itself (`app.ingest.pipeline.quota_cache`), by
`load_sample_quotas`.
"""

from collections.abc import Iterable, Mapping
from datetime import date, datetime
from typing import Final, NamedTuple
from uuid import UUID

from sqlalchemy import ARRAY, BigInteger, Date, Text, Uuid, bindparam, text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncSession

from app.platform.config.quota_settings import QUOTAS, SAMPLES, Quota, QuotaSettings
from app.platform.db.database import Database, RawConnection, WriteSession, suspend_commit_step
from app.platform.kernel.errors import ConflictError
from app.platform.kernel.tenant_scope import TenantScope, run_with_full_scope
from app.platform.observability.metrics_and_logs import QUOTA_REFUSED, get_logger
from app.registry.models import Organisation

_log = get_logger(__name__)
_WORDS: Final[Mapping[Quota, str]] = {
    "sites": "sites",
    "boxes": "boxes",
    "api_keys": "API keys",
    "webhooks": "webhooks and channels",
    "clients": "clients",
    "samples_per_day": "samples a day",
}
_ROOM: Final = text(
    "SELECT owner, holder, most, used FROM vigie_quota_room(:owners, :which, :otherwise)"
).bindparams(
    bindparam("owners", type_=ARRAY(Uuid)),
    bindparam("which", type_=Text),
    bindparam("otherwise", type_=BigInteger),
)
_REFUSED: Final = text(
    """
    INSERT INTO organisation_usage AS u (organisation_id, day, quota, writer, used, refused)
    SELECT id, :day, :which, pg_backend_pid(), 0, :number FROM unnest(:organisations) AS given (id)
    ORDER BY id
    ON CONFLICT (day, organisation_id, quota, writer) DO UPDATE SET refused = u.refused + excluded.refused
    """
).bindparams(
    bindparam("organisations", type_=ARRAY(Uuid)),
    bindparam("day", type_=Date),
    bindparam("which", type_=Text),
    bindparam("number", type_=BigInteger),
)
_USE: Final = text(
    """
    SELECT q.which, h.most, coalesce(h.tree, false) AS tree,
        vigie_quota_used(:organisation, coalesce(h.tree, false), q.which, :day) AS used,
        coalesce((
            SELECT sum(u.refused) FROM organisation_usage u
            WHERE u.day = :day AND u.organisation_id = :organisation AND u.quota = q.which
        ), 0)::bigint AS refused
    FROM unnest(CAST(:quotas AS text[]), CAST(:defaults AS bigint[])) AS q (which, otherwise)
    LEFT JOIN LATERAL vigie_quota_holders(ARRAY[:organisation], q.which, q.otherwise) h
        ON h.holder = :organisation
    """
).bindparams(
    bindparam("organisation", type_=Uuid),
    bindparam("day", type_=Date),
    bindparam("quotas", list(QUOTAS), type_=ARRAY(Text)),
    bindparam("defaults", type_=ARRAY(BigInteger)),
)
_ACCOUNTS: Final = """
SELECT h.owner, h.holder, h.most,
    coalesce(u.used, 0)::bigint AS used, coalesce(u.refused, 0)::bigint AS refused
FROM vigie_quota_holders(ARRAY(SELECT o.id FROM organisations o), $2, $3) h
LEFT JOIN (
    SELECT organisation_id, sum(used) AS used, sum(refused) AS refused
    FROM organisation_usage WHERE day = $1 AND quota = $2 GROUP BY organisation_id
) u ON u.organisation_id = h.owner
"""


class OrganisationQuotaExceededError(ConflictError):
    """What is asked for exceeds a quota.

    Attributes:
        quota: which.
        number: how much was asked for.
        organisations: in whose figures it is counted: whose it would have been, and whose quota it is.
    """

    code = "quota_exceeded"

    def __init__(
        self, quota: Quota, number: int, organisations: Iterable[UUID], *, limit: int | None, used: int | None
    ) -> None:
        what = _WORDS[quota]
        if limit is None:
            detail = f"The integrator's quota of {what} is used up. Ask it for more."
        else:
            detail = (
                f"The quota is {limit} {what}, of which {used} are used: {number} more cannot be made. "
                "Delete some, or have the quota raised."
            )
        super().__init__(detail, extra={"quota": quota, "limit": limit, "used": used})
        self.quota = quota
        self.number = number
        self.organisations = frozenset(organisations)


async def check_quota(
    session: WriteSession,
    quota: Quota,
    added: Mapping[UUID, int],
    settings: QuotaSettings,
    visible: TenantScope,
) -> None:
    """Refuse what was just made in this transaction where it exceeds a quota.

    Whoever makes more of the same waits here until the transaction ends: two cannot both take the last place.

    Args:
        session: The transaction.
        quota: Of what.
        added: How many were made, by organisation.
        settings: The installation's defaults.
        visible: What the caller may see: it is told no numbers of other quotas.

    Raises:
        QuotaExceededError: It does; the transaction is to be rolled back.
    """
    found = await session.execute(
        _ROOM, {"owners": list(added), "which": quota, "otherwise": settings.default(quota)}
    )
    rows = [(owner, holder, most, used) for owner, holder, most, used in found]
    for owner, holder, most, used in rows:
        if used <= most:
            continue
        number = sum(added[other] for other, its, _, _ in rows if its == holder)
        told = holder == owner or visible.includes(holder)
        raise OrganisationQuotaExceededError(
            quota,
            number,
            (owner, holder),
            limit=most if told else None,
            used=used - number if told else None,
        )


async def count_quota_refusal(
    database: Database, error: OrganisationQuotaExceededError, now: datetime
) -> None:
    """Count what was refused, in a transaction of its own: the one that was refused is rolled back.

    Never fails: what was refused stays refused.
    """
    QUOTA_REFUSED.labels(error.quota).inc(error.number)
    counted = {
        "organisations": sorted(error.organisations),
        "day": now.date(),
        "which": error.quota,
        "number": error.number,
    }
    try:
        with run_with_full_scope(), suspend_commit_step():
            async with database.write() as session:
                await session.execute(_REFUSED, counted)
    except (SQLAlchemyError, OSError, TimeoutError) as failure:
        _log.warning("refusal_not_counted", quota=error.quota, error=repr(failure))


def get_assigned_quotas(row: Organisation) -> dict[Quota, int | None]:
    """The quotas that an organisation was given; None where it has the installation's default."""
    return {quota: getattr(row, f"quota_{quota}") for quota in QUOTAS}


class QuotaUsage(NamedTuple):
    """What of a quota is used.

    Attributes:
        limit: how much there may be; None: no limit.
        used: how much there is; of samples, how many were stored in the day.
        refused: how much was refused in the day.
        with_clients: whether an integrator's clients count too.
    """

    limit: int | None
    used: int
    refused: int
    with_clients: bool


async def read_quota_usage(
    session: AsyncSession, organisation_id: UUID, settings: QuotaSettings, day: date
) -> dict[Quota, QuotaUsage]:
    """What an organisation within the caller's reach uses of each quota."""
    rows = await session.execute(
        _USE,
        {
            "organisation": organisation_id,
            "day": day,
            "defaults": [settings.default(quota) for quota in QUOTAS],
        },
    )
    return {which: QuotaUsage(most, used, refused, tree) for which, most, tree, used, refused in rows}


class SampleQuotaRow(NamedTuple):
    """What one organisation has used of one quota of samples: its own, or its integrator's."""

    owner: UUID
    holder: UUID
    most: int
    used: int
    refused: int


async def load_sample_quotas(
    connection: RawConnection, day: date, default: int | None
) -> list[SampleQuotaRow]:
    """The quotas of samples that hold for each organisation, and what each has used and was refused that day.

    Of a quota that several share, what they have used together is the sum over its `holder`.

    Args:
        connection: of a process that works for everybody.
        day: UTC.
        default: the installation's; None: only who was given a quota is held by one.
    """
    return [SampleQuotaRow(*row) for row in await connection.fetch(_ACCOUNTS, day, SAMPLES, default)]
