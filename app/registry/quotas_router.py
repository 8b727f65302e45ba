"""Serves the REST endpoints of an organisation's quotas and their usage, with their JSON schemas.

Platform administrators set the quotas of all organisations, integrators those of their clients.
"""

from datetime import UTC, date, datetime, time, timedelta
from typing import Annotated, Final
from uuid import UUID

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy.ext.asyncio import AsyncSession

from app.platform.http.contract.etags import PreconditionDep, ResourceModel
from app.platform.http.contract.fields import RequestBody
from app.platform.http.contract.session_dependencies import ReadSessionDep, WriteSessionDep
from app.platform.http.contract.strict_body import StrictRoute
from app.platform.identity.caller_authentication import Principal
from app.platform.kernel.errors import ForbiddenError, InvalidError
from app.registry import organisation_repository
from app.registry.dependencies import DefaultQuotas, OrganisationsReader, OrganisationsWriter
from app.registry.models import Organisation
from app.registry.quota_service import QuotaUsage, get_assigned_quotas, read_quota_usage
from app.registry.settings import QUOTA_MAX, QuotaSettings

_MOST: Final = Field(ge=0, le=QUOTA_MAX)
_Quota = Annotated[int, _MOST]


class QuotasSet(RequestBody):
    """The quotas of an organisation. A field that is left out, or null, is the installation's default."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"boxes": 500, "webhooks": 20, "samples_per_day": 5_000_000}]}
    )

    sites: _Quota | None = Field(None, description="Sites")
    boxes: _Quota | None = Field(None, description="Boxes")
    api_keys: _Quota | None = Field(None, description="API keys that are not revoked")
    webhooks: _Quota | None = Field(None, description="Webhooks and channels together")
    clients: _Quota | None = Field(None, description="Clients of an integrator")
    samples_per_day: _Quota | None = Field(None, description="Samples stored on a day (UTC)")


class QuotasOut(ResourceModel):
    """The quotas that are set for an organisation; null: the installation's default."""

    sites: int | None = Field(description="Maximum sites")
    boxes: int | None = Field(description="Maximum boxes")
    api_keys: int | None = Field(description="Maximum API keys")
    webhooks: int | None = Field(description="Maximum webhooks and channels")
    clients: int | None = Field(description="Maximum client organisations")
    samples_per_day: int | None = Field(description="Maximum samples a day")


class UseOut(BaseModel):
    """The usage of a quota."""

    limit: int | None = Field(description="The quota; null: no limit")
    used: int = Field(description="Number of items; of samples, the number stored on the day")
    remaining: int | None = Field(description="Number of items left; null: no limit")
    refused: int = Field(description="Number of items refused on the day (UTC)")
    with_clients: bool = Field(description="Whether the items of an integrator's clients are included")


class UsageOut(BaseModel):
    """An organisation's quotas, their usage, and the refusals of today."""

    organisation_id: UUID
    day: date = Field(description="Today (UTC), the day of `samples_per_day` and of all `refused`")
    resets_at: datetime = Field(description="End of the day")
    sites: UseOut
    boxes: UseOut
    api_keys: UseOut
    webhooks: UseOut
    clients: UseOut
    samples_per_day: UseOut


router: Final = APIRouter(
    prefix="/v1/organisations/{organisation_id}", tags=["Organisations"], route_class=StrictRoute
)


async def _check_may_set(
    session: AsyncSession,
    principal: Principal,
    row: Organisation,
    quotas: QuotasSet,
    defaults: QuotaSettings,
) -> None:
    """Refuse callers that set their own quotas, or quotas above their own.

    Raises:
        ForbiddenError: The caller is neither an administrator of the platform nor the client's integrator.
        InvalidError: `quota_above_own`.
    """
    if principal.platform:
        return
    integrator = await organisation_repository.find_organisation(
        session, principal.organisation_id, principal.visible()
    )
    if integrator is None or row.parent_id != integrator.id:
        raise ForbiddenError(
            "Only administrators of the platform and the client's integrator can set these quotas."
        )
    for quota, own in get_assigned_quotas(integrator).items():
        most = defaults.default(quota) if own is None else own
        requested: int | None = getattr(quotas, quota)
        if most is not None and requested is not None and requested > most:
            detail = f"The quota exceeds the integrator's own quota, which is {most}."
            raise InvalidError(detail, code="quota_above_own").at(f"body.{quota}")


@router.get("/quotas", summary="Read an organisation's quotas")
async def get_organisation_quotas(
    organisation_id: str, principal: OrganisationsReader, session: ReadSessionDep
) -> QuotasOut:
    """Read the quotas set for an organisation. `GET …/usage` shows those in force and their usage."""
    row = await organisation_repository.get_organisation(session, organisation_id, principal.visible())
    return QuotasOut(**get_assigned_quotas(row))


@router.put("/quotas", summary="Set an organisation's quotas")
async def set_organisation_quotas(
    *,
    organisation_id: str,
    body: QuotasSet,
    principal: OrganisationsWriter,
    session: WriteSessionDep,
    defaults: DefaultQuotas,
    matching: PreconditionDep,
) -> QuotasOut:
    """Replace all quotas of an organisation.

    Administrators of the platform can set any quota; an integrator can set its clients' quotas up to its own.
    An integrator's quota applies to it and its clients together. Items above a new quota are not deleted.
    """
    row = await organisation_repository.get_organisation(
        session, organisation_id, principal.visible(), lock=True
    )
    matching.check(QuotasOut(**get_assigned_quotas(row)))
    await _check_may_set(session, principal, row, body, defaults)
    for quota, most in body.model_dump().items():
        setattr(row, f"quota_{quota}", most)
    row.updated_at = datetime.now(UTC)
    await session.flush()
    return QuotasOut(**get_assigned_quotas(row))


def _to_usage(use: QuotaUsage) -> UseOut:
    remaining = None if use.limit is None else max(use.limit - use.used, 0)
    return UseOut(**use._asdict(), remaining=remaining)


@router.get("/usage", summary="Read an organisation's usage of its quotas")
async def get_organisation_usage(
    organisation_id: str, principal: OrganisationsReader, session: ReadSessionDep, defaults: DefaultQuotas
) -> UsageOut:
    """Read the quotas in force for an organisation, their usage, and the refusals of today."""
    row = await organisation_repository.get_organisation(session, organisation_id, principal.visible())
    today = datetime.now(UTC).date()
    uses = await read_quota_usage(session, row.id, defaults, today)
    return UsageOut(
        organisation_id=row.id,
        day=today,
        resets_at=datetime.combine(today + timedelta(days=1), time(), UTC),
        **{quota: _to_usage(use) for quota, use in uses.items()},
    )
