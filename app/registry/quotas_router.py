"""REST for quotas: the platform's administrators give them, and integrators their clients; all see theirs.

The shapes of quotas and of what is used of them. Shapes only.
"""

from datetime import UTC, date, datetime, time, timedelta
from typing import Annotated, Final
from uuid import UUID

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy.ext.asyncio import AsyncSession

from app.platform.config.quota_settings import QUOTA_MAX, QuotaSettings
from app.platform.http.contract.dependencies import ReadSessionDep, WriteSessionDep
from app.platform.http.contract.etags import PreconditionDep, ResourceModel
from app.platform.http.contract.fields import RequestBody
from app.platform.http.contract.problems import document_problems
from app.platform.http.contract.strict_body import StrictRoute
from app.platform.identity.principals import Principal
from app.platform.kernel.errors import ForbiddenError, InvalidError, NotFoundError
from app.platform.kernel.ids import parse_id
from app.registry import repository
from app.registry.dependencies import DefaultQuotas, OrganisationsReader, OrganisationsWriter
from app.registry.models import Organisation
from app.registry.quota_service import QuotaUsage, get_assigned_quotas, read_quota_usage

_MOST: Final = Field(ge=0, le=QUOTA_MAX)
_Quota = Annotated[int, _MOST]


class QuotasSet(RequestBody):
    """What an organisation may have. What is left out, or null, is the installation's default."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"boxes": 500, "webhooks": 20, "samples_per_day": 5_000_000}]}
    )

    sites: _Quota | None = Field(None, description="Sites")
    boxes: _Quota | None = Field(None, description="Boxes")
    api_keys: _Quota | None = Field(None, description="API keys that are not revoked")
    webhooks: _Quota | None = Field(None, description="Webhooks and channels together")
    clients: _Quota | None = Field(None, description="Organisations of an integrator's clients")
    samples_per_day: _Quota | None = Field(None, description="Samples stored in a day (UTC)")


class QuotasOut(ResourceModel):
    """What an organisation was given; null: what the installation gives to all."""

    sites: int | None
    boxes: int | None
    api_keys: int | None
    webhooks: int | None
    clients: int | None
    samples_per_day: int | None


class UseOut(BaseModel):
    """What of one quota is used."""

    limit: int | None = Field(description="How much there may be; null: any number")
    used: int = Field(description="How much there is; of samples, how many were stored in the day")
    remaining: int | None = Field(description="How much more there may be; null: any number")
    refused: int = Field(description="How much was refused in the day (UTC)")
    with_clients: bool = Field(description="Whether what an integrator's clients use counts too")


class UsageOut(BaseModel):
    """What an organisation may have, what it uses, and what it was refused today."""

    organisation_id: UUID
    day: date = Field(description="Today, in UTC: of `samples_per_day`, and of all that was refused")
    resets_at: datetime = Field(description="When the day ends")
    sites: UseOut
    boxes: UseOut
    api_keys: UseOut
    webhooks: UseOut
    clients: UseOut
    samples_per_day: UseOut


router: Final = APIRouter(
    prefix="/v1/organisations/{organisation_id}", tags=["Organisations"], route_class=StrictRoute
)


async def _organisation(
    session: AsyncSession, identifier: str, principal: Principal, *, lock: bool = False
) -> Organisation:
    row = await repository.find_organisation(
        session, parse_id(identifier, "organisation"), principal.visible(), lock=lock
    )
    if row is None:
        raise NotFoundError("organisation", identifier)
    return row


async def _check_gives(
    session: AsyncSession,
    principal: Principal,
    row: Organisation,
    wanted: QuotasSet,
    defaults: QuotaSettings,
) -> None:
    """Refuse who gives itself something, or more than it has.

    Raises:
        ForbiddenError: The caller is neither an administrator of the platform nor the client's integrator.
        InvalidError: `quota_above_own`.
    """
    if principal.platform:
        return
    giver = await repository.find_organisation(session, principal.organisation_id, principal.visible())
    if giver is None or row.parent_id != giver.id:
        raise ForbiddenError(
            "Quotas are given by the platform's administrators, and by a client's integrator."
        )
    for quota, own in get_assigned_quotas(giver).items():
        most = defaults.default(quota) if own is None else own
        asked: int | None = getattr(wanted, quota)
        if most is not None and asked is not None and asked > most:
            detail = f"This is more than the integrator's own quota, which is {most}."
            raise InvalidError(detail, code="quota_above_own").at(f"body.{quota}")


@router.get(
    "/quotas",
    operation_id="get_organisation_quotas",
    summary="Read an organisation's quotas",
    responses=document_problems(401, 403, 404),
)
async def get_organisation_quotas(
    organisation_id: str, principal: OrganisationsReader, session: ReadSessionDep
) -> QuotasOut:
    """What it was given. `GET …/usage` has what goes for it, with what is used."""
    return QuotasOut(**get_assigned_quotas(await _organisation(session, organisation_id, principal)))


@router.put(
    "/quotas",
    operation_id="set_organisation_quotas",
    summary="Set an organisation's quotas",
    responses=document_problems(400, 401, 403, 404, 413, 415, 422),
)
async def set_organisation_quotas(
    *,
    organisation_id: str,
    body: QuotasSet,
    principal: OrganisationsWriter,
    session: WriteSessionDep,
    defaults: DefaultQuotas,
    matching: PreconditionDep,
) -> QuotasOut:
    """Give an organisation other quotas, in place of all that it had.

    The platform's administrators give any, an integrator its clients' and none above its own. What an
    integrator was given holds for it and its clients together. What there is too much of already stays.
    """
    row = await _organisation(session, organisation_id, principal, lock=True)
    matching.check(QuotasOut(**get_assigned_quotas(row)))
    await _check_gives(session, principal, row, body, defaults)
    for quota, most in body.model_dump().items():
        setattr(row, f"quota_{quota}", most)
    row.updated_at = datetime.now(UTC)
    await session.flush()
    return QuotasOut(**get_assigned_quotas(row))


def _shown(use: QuotaUsage) -> UseOut:
    remaining = None if use.limit is None else max(use.limit - use.used, 0)
    return UseOut(**use._asdict(), remaining=remaining)


@router.get(
    "/usage",
    operation_id="get_organisation_usage",
    summary="What an organisation uses of its quotas",
    responses=document_problems(401, 403, 404),
)
async def get_organisation_usage(
    organisation_id: str, principal: OrganisationsReader, session: ReadSessionDep, defaults: DefaultQuotas
) -> UsageOut:
    """What it may have, what it has, and what it was refused today."""
    row = await _organisation(session, organisation_id, principal)
    today = datetime.now(UTC).date()
    uses = await read_quota_usage(session, row.id, defaults, today)
    return UsageOut(
        organisation_id=row.id,
        day=today,
        resets_at=datetime.combine(today + timedelta(days=1), time(), UTC),
        **{quota: _shown(use) for quota, use in uses.items()},
    )
