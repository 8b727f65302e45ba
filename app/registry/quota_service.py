"""Enforces the quotas of organisations, and reports their usage.

A quota of an integrator applies to it and its clients together; a quota of another organisation to it alone.
An organisation without a quota gets the installation's default, for itself. So a client can be refused
because of its integrator's quota; the error then shows no numbers.

Quotas of samples are enforced by ingest (`app.ingest.pipeline.quota_cache`), with `load_sample_quotas`.
"""

from collections.abc import Iterable, Mapping
from datetime import date, datetime
from typing import Final, NamedTuple
from uuid import UUID

from sqlalchemy import ARRAY, BigInteger, Date, Text, Uuid, bindparam, text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncSession

from app.platform.db.commit_steps import suspend_commit_step
from app.platform.db.database import Database, RawConnection, WriteSession
from app.platform.kernel.errors import ConflictError
from app.platform.kernel.tenant_scope import TenantScope, run_with_full_scope
from app.platform.observability.metrics_and_logs import get_logger
from app.registry.models import Organisation
from app.registry.prometheus_metrics import QUOTA_REFUSED
from app.registry.settings import QUOTAS, SAMPLES, Quota, QuotaSettings

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
    """The request exceeds a quota.

    Attributes:
        quota: The quota.
        number: The number of requested items.
        organisations: The organisations that count the refusal: the owner of the items, and the holder of the
            quota.
    """

    code = "quota_exceeded"

    def __init__(
        self, quota: Quota, number: int, organisations: Iterable[UUID], *, limit: int | None, used: int | None
    ) -> None:
        items = _WORDS[quota]
        if limit is None:
            detail = f"The integrator's quota of {items} is used up. Ask the integrator to raise it."
        else:
            detail = (
                f"The quota is {limit} {items}, of which {used} are used: {number} more cannot be created. "
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
    """Refuse items that this transaction just created if they exceed a quota.

    Concurrent transactions with the same quota wait here until this one ends, so that only one gets the last
    free slot.

    Args:
        session: The transaction.
        quota: The quota.
        added: The numbers of created items by organisation.
        settings: The installation's defaults.
        visible: The caller's tenant scope: the error shows no numbers of quotas outside it.

    Raises:
        OrganisationQuotaExceededError: The quota is exceeded; the caller must roll back.
    """
    found = await session.execute(
        _ROOM, {"owners": list(added), "which": quota, "otherwise": settings.default(quota)}
    )
    rows = [(owner, holder, most, used) for owner, holder, most, used in found]
    for owner, holder, most, used in rows:
        if used <= most:
            continue
        number = sum(added[other] for other, its, _, _ in rows if its == holder)
        is_visible = holder == owner or visible.includes(holder)
        raise OrganisationQuotaExceededError(
            quota,
            number,
            (owner, holder),
            limit=most if is_visible else None,
            used=used - number if is_visible else None,
        )


async def count_quota_refusal(
    database: Database, error: OrganisationQuotaExceededError, now: datetime
) -> None:
    """Count a refusal in a separate transaction, since the refused one is rolled back.

    It never raises: a refusal that cannot be counted is logged.
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
    """Get the quotas that are set for an organisation; None: the installation's default applies."""
    return {quota: getattr(row, f"quota_{quota}") for quota in QUOTAS}


class QuotaUsage(NamedTuple):
    """The usage of a quota.

    Attributes:
        limit: The quota; None: no limit.
        used: The number of items; of samples, the number stored on the day.
        refused: The number of items refused on the day.
        with_clients: Whether the items of an integrator's clients are included.
    """

    limit: int | None
    used: int
    refused: int
    with_clients: bool


async def read_quota_usage(
    session: AsyncSession, organisation_id: UUID, settings: QuotaSettings, day: date
) -> dict[Quota, QuotaUsage]:
    """Read an organisation's usage of each quota.

    Args:
        session: A session whose tenant scope includes the organisation.
        organisation_id: The organisation.
        settings: The installation's defaults.
        day: The day (UTC) of samples and refusals.
    """
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
    """The usage of a quota of samples by one organisation. The holder is it, or its integrator."""

    owner: UUID
    holder: UUID
    most: int
    used: int
    refused: int


async def load_sample_quotas(
    connection: RawConnection, day: date, default: int | None
) -> list[SampleQuotaRow]:
    """Load the quotas of samples of all organisations, with the stored and refused samples of a day.

    The usage of a shared quota is the sum over the rows with its `holder`.

    Args:
        connection: A connection with the full tenant scope.
        day: The day (UTC).
        default: The installation's default; None: no limit.
    """
    return [SampleQuotaRow(*row) for row in await connection.fetch(_ACCOUNTS, day, SAMPLES, default)]
