"""Serves a site's retention over REST: settings, preview and progress of removal."""

from datetime import UTC, datetime
from typing import Final

from fastapi import APIRouter
from sqlalchemy.ext.asyncio import AsyncSession

from app.platform.db.ingest_barrier import close_ingest_barrier
from app.platform.http.contract.etags import PreconditionDep
from app.platform.http.contract.session_dependencies import ReadSessionDep, WriteSessionDep
from app.platform.http.contract.strict_body import StrictRoute
from app.platform.identity.caller_authentication import Principal
from app.platform.kernel.errors import NotFoundError
from app.platform.kernel.ids import parse_id
from app.registry import site_repository
from app.registry.box_service import check_summary_retention
from app.registry.dependencies import SitesReader, SitesWriter
from app.registry.models import Site
from app.registry.purpose_service import get_retention_settings, revoke_weakened_approvals
from app.registry.site_retention import RetentionSettings
from app.timeseries.retention.expiry_cutoffs import ExpiryLimits
from app.timeseries.retention.preview import count_expired_data, read_removal_progress
from app.timeseries.retention.schemas import RetentionOut, RetentionPreview, RetentionSet

router: Final = APIRouter(prefix="/v1/sites/{site_id}/retention", tags=["Sites"], route_class=StrictRoute)


async def _site(session: AsyncSession, identifier: str, principal: Principal, *, lock: bool = False) -> Site:
    row = await site_repository.find_site(
        session, parse_id(identifier, "site"), principal.visible(), lock=lock
    )
    if row is None:
        raise NotFoundError("site", identifier)
    return row


async def _shown(session: AsyncSession, site: Site) -> RetentionOut:
    limits = ExpiryLimits.of(get_retention_settings(site), site.timezone, datetime.now(UTC))
    return RetentionOut.of(site, await read_removal_progress(session, site.id, limits))


@router.get("", summary="Read a site's retention")
async def get_site_retention(site_id: str, principal: SitesReader, session: ReadSessionDep) -> RetentionOut:
    """Read the settings, the effective retention of each purpose, and the progress of removal."""
    return await _shown(session, await _site(session, site_id, principal))


@router.put("", summary="Set a site's retention")
async def set_site_retention(
    site_id: str,
    body: RetentionSet,
    principal: SitesWriter,
    session: WriteSessionDep,
    matching: PreconditionDep,
) -> RetentionOut:
    """Replace all retention settings of a site; `default_days` is its `retention_days`.

    With `removes`, older data are deleted for good, beginning within a minute: request a preview first. A
    sensitive purpose needs a new approval if its data would be retained longer than before, or no longer be
    removed.
    """
    await _site(session, site_id, principal)
    # The change may revoke an approval, which must not happen while a batch relies on it.
    await close_ingest_barrier(session)
    site = await _site(session, site_id, principal, lock=True)
    matching.check(await _shown(session, site))
    settings = body.settings()
    check_summary_retention(settings)
    before = get_retention_settings(site)
    site.retention_days = settings.default_days
    site.retention_purposes = dict(settings.purposes)
    site.summaries_days = settings.summaries_days
    site.retention_removes = settings.removes
    site.updated_at = datetime.now(UTC)
    await session.flush()
    await revoke_weakened_approvals(session, site, before)
    return await _shown(session, site)


@router.get("/preview", summary="Preview removal by a site's settings")
async def get_site_retention_preview(
    site_id: str, principal: SitesReader, session: ReadSessionDep
) -> RetentionPreview:
    """Count the data that have expired under the current settings. Nothing is changed."""
    site = await _site(session, site_id, principal)
    return await _preview(session, site, get_retention_settings(site))


@router.post("/preview", summary="Preview removal by other settings")
async def preview_site_retention(
    site_id: str, body: RetentionSet, principal: SitesReader, session: ReadSessionDep
) -> RetentionPreview:
    """Count the data that these settings would remove with `removes`. Nothing is changed."""
    site = await _site(session, site_id, principal)
    settings = body.settings()
    check_summary_retention(settings)
    return await _preview(session, site, settings)


async def _preview(session: AsyncSession, site: Site, settings: RetentionSettings) -> RetentionPreview:
    limits = ExpiryLimits.of(settings, site.timezone, datetime.now(UTC))
    return RetentionPreview.of(await count_expired_data(session, site.id, limits))
