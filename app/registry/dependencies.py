"""Provides FastAPI dependencies (scopes, filters, settings), and updates the broker's accounts."""

from datetime import UTC, datetime
from typing import Annotated

from fastapi import Depends, Query, Request

from app.message_log.settings import MessageLogSettings
from app.platform.config.platform_settings import BrokerSettings
from app.platform.db.database import Database
from app.platform.http.contract.fields import Identifier, Name
from app.platform.identity.caller_authentication import Principal, require_scope
from app.platform.kernel.application_resources import get_resource, make_resource_dependency
from app.platform.kernel.errors import InvalidError, UnavailableError
from app.platform.observability.metrics_and_logs import get_logger
from app.registry import box_configurations, broker_password_file
from app.registry.box_filters import SilenceCriterion
from app.registry.box_service import NewBoxLimits
from app.registry.settings import EnrolmentSettings, QuotaSettings, SitesSettings

OrganisationsReader = Annotated[Principal, Depends(require_scope("organisations:read"))]
OrganisationsWriter = Annotated[Principal, Depends(require_scope("organisations:write"))]
SitesReader = Annotated[Principal, Depends(require_scope("sites:read"))]
SitesWriter = Annotated[Principal, Depends(require_scope("sites:write"))]
BoxesWriter = Annotated[Principal, Depends(require_scope("boxes:write"))]
OrganisationFilter = Annotated[
    Identifier | None, Query(description="Only of this organisation. For administrators and integrators")
]

NameFilter = Annotated[Name | None, Query(description="Part of the name, case-insensitive")]


DefaultQuotas = Annotated[QuotaSettings, Depends(make_resource_dependency(QuotaSettings))]
"""The default quotas of organisations without quotas of their own."""
BrokerDependency = Annotated[BrokerSettings, Depends(make_resource_dependency(BrokerSettings))]
SitesDependency = Annotated[SitesSettings, Depends(make_resource_dependency(SitesSettings))]
EnrolmentDependency = Annotated[EnrolmentSettings, Depends(make_resource_dependency(EnrolmentSettings))]


# Asynchronous although they do not wait: FastAPI would run them in threads.
async def _new_box_limits(broker: BrokerDependency, quotas: DefaultQuotas) -> NewBoxLimits:
    return NewBoxLimits(broker.username, quotas)


NewBoxLimitsDependency = Annotated[NewBoxLimits, Depends(_new_box_limits)]


async def get_silence_criterion(request: Request) -> SilenceCriterion:
    """Make the criterion of a silent box for the present time."""
    return SilenceCriterion(datetime.now(UTC), get_resource(request.app, SitesSettings).silent_intervals)


CurrentSilenceCriterion = Annotated[SilenceCriterion, Depends(get_silence_criterion)]

_log = get_logger(__name__)


def check_expiry(expires_at: datetime | None, now: datetime) -> None:
    """Refuse an expiry in the past (InvalidError `expired`). None: no expiry."""
    if expires_at is not None and expires_at <= now:
        raise InvalidError("`expires_at` is in the past. Give a future time, or null.", code="expired")


def _has_edges(request: Request) -> bool:
    """Whether the installation has several brokers, each with an edge that writes its accounts."""
    return get_resource(request.app, MessageLogSettings).engine != "none"


async def publish_configs(request: Request, database: Database, *, within_s: float | None = None) -> None:
    """Publish due configurations of boxes. Call it after the commit that changed them.

    With several brokers it does nothing: their edges find the change within a second.

    Args:
        request: The request.
        database: The database with the configurations.
        within_s: How long to publish, in seconds; None: one batch. `vigie maintain` publishes the rest.
    """
    if _has_edges(request):
        return
    broker = get_resource(request.app, BrokerSettings)
    if within_s is None:
        await box_configurations.publish_due_configs(database, broker)
    else:
        await box_configurations.publish_configs_within(database, broker, within_s)


async def sync_broker_accounts(
    request: Request, database: Database, *, next_step: str = "rotate the credentials of the box"
) -> None:
    """Update the broker's accounts. Call it after the commit that changed them.

    With several brokers it only notifies their edges, which have the change in force within two seconds.

    Args:
        request: The request.
        database: The database with the accounts.
        next_step: The advice to the client if the update fails: what to do once the server is repaired.

    Raises:
        UnavailableError: `broker_accounts`: the change is stored, but not yet in force at the broker.
    """
    if _has_edges(request):
        await broker_password_file.notify_account_change(database)
        return
    try:
        await broker_password_file.sync_password_file(database, get_resource(request.app, BrokerSettings))
    except (OSError, TimeoutError) as error:
        _log.error("broker_accounts_not_written", exc_info=error)
        raise UnavailableError(
            "The change is stored, but the broker's accounts could not be written: it is not in force at the "
            f"broker. Once the server no longer logs this error, {next_step}.",
            code="broker_accounts",
        ) from error
