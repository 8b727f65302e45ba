"""What the routers of this room share: callers by scope, ends of keys, the broker's accounts."""

from datetime import UTC, datetime
from typing import Annotated

from fastapi import Depends, Query, Request

from app.platform.config.quota_settings import QuotaSettings
from app.platform.db.database import Database
from app.platform.http.contract.fields import Identifier, Name
from app.platform.identity.principals import Principal, require_scope
from app.platform.kernel.errors import InvalidError, UnavailableError
from app.platform.observability.metrics_and_logs import get_logger
from app.registry import broker_password_file
from app.registry.box_repository import SilenceCriterion

OrganisationsReader = Annotated[Principal, Depends(require_scope("organisations:read"))]
OrganisationsWriter = Annotated[Principal, Depends(require_scope("organisations:write"))]
SitesReader = Annotated[Principal, Depends(require_scope("sites:read"))]
SitesWriter = Annotated[Principal, Depends(require_scope("sites:write"))]
BoxesWriter = Annotated[Principal, Depends(require_scope("boxes:write"))]
OrganisationFilter = Annotated[
    Identifier | None, Query(description="Only of this organisation (for the platform's administrators)")
]

NameFilter = Annotated[Name | None, Query(description="Part of the name, in any case")]


# Asynchronous, though nothing is waited for: FastAPI would run it in a thread.
async def _default_quotas(request: Request) -> QuotaSettings:
    defaults: QuotaSettings = request.app.state.settings.quotas
    return defaults


DefaultQuotas = Annotated[QuotaSettings, Depends(_default_quotas)]
"""What an organisation may have that was given no quotas of its own."""


async def get_silence_criterion(request: Request) -> SilenceCriterion:
    """When a box counts as silent, now."""
    return SilenceCriterion(datetime.now(UTC), request.app.state.settings.sites.silent_intervals)


CurrentSilenceCriterion = Annotated[SilenceCriterion, Depends(get_silence_criterion)]

_log = get_logger(__name__)


def check_expiry(expires_at: datetime | None, now: datetime) -> None:
    """Refuse an end that has passed (InvalidError `expired`); None is no end."""
    if expires_at is not None and expires_at <= now:
        raise InvalidError("`expires_at` has passed. Give a time to come, or null.", code="expired")


async def sync_broker_accounts(
    request: Request, database: Database, *, mend: str = "ask for new credentials of the box"
) -> None:
    """Bring the broker's accounts up to date; call it after the commit that changed them.

    Args:
        request: The call.
        database: Where the accounts are.
        mend: What to do where that fails, once it can be done again.

    Raises:
        UnavailableError: `broker_accounts`: the change is stored, and not yet in force at the broker.
    """
    try:
        await broker_password_file.sync_password_file(database, request.app.state.settings.broker)
    except (OSError, TimeoutError) as error:
        _log.error("broker_accounts_not_written", exc_info=error)
        raise UnavailableError(
            "The change is stored, but the broker's accounts could not be written: it is not in force there."
            f" Once the server's log no longer says so, {mend}.",
            code="broker_accounts",
        ) from error
