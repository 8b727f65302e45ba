"""Lists all routers of the REST API, in the order of matching and documentation."""

from typing import Final

from fastapi import APIRouter

from app.alerts import (
    box_map_router,
    bulk_alerts_router,
    inhibitions_router,
    operations_overview_router,
    silences_router,
    similar_alerts_router,
)
from app.alerts import router as alerts_router
from app.audit import router as audit_router
from app.catalogue import gunshot_sources_router, metrics_router
from app.cluster_status import router as cluster_router
from app.console.console_routers import CONSOLE_ROUTERS
from app.environmental_indices import router as indices_router
from app.grants import recipient_router as grant_recipient_router
from app.grants import router as grants_router
from app.ingest import quarantine_replay_router, telemetry_router
from app.installation_settings import router as installation_router
from app.measurement_stream import stream_router as measurement_stream_router
from app.measurement_stream.subscriptions import router as measurement_subscriptions
from app.ngsi_ld import router as ngsi_ld_router
from app.ngsi_ld import subscription_router as ngsi_ld_subscription_router
from app.notifications.api import (
    channels_router,
    deliveries_router,
    endpoint_list_router,
    portal_router,
    replays_router,
    webhook_and_channel_router,
    webhooks_router,
)
from app.notifications.events import event_types_router
from app.notifications.stream import stream_router
from app.ogc_api import collection_descriptions as ogc_collections
from app.ogc_api import edr_router
from app.ogc_api import router as ogc_router
from app.pages import grant_router as grant_pages
from app.pages import guides_router, invitation_and_reset_router, security_txt_router
from app.people import (
    invitations_router,
    me_router,
    members_router,
    oidc_router,
    second_factors_router,
    sessions_router,
)
from app.platform.runtime import health_router
from app.privacy_requests import request_pages
from app.privacy_requests import router as privacy_requests_router
from app.public_register import data_router, pages_router
from app.quarantine import router as quarantine_router
from app.registry import (
    api_keys_router,
    box_configurations_router,
    box_connection_router,
    boxes_router,
    bulk_boxes_router,
    claim_codes_router,
    firmware_counts_router,
    organisations_router,
    privacy_refusal_counts_router,
    provisioning_keys_router,
    purposes_router,
    quotas_router,
    sites_router,
)
from app.reports import router as reports_router
from app.reports import schedules_router as report_schedules_router
from app.rules.backtests import router as backtests_router
from app.rules.definitions import router as rules_router
from app.rules.presets import router as presets_router
from app.search import router as search_router
from app.sensorthings import router as sensorthings_router
from app.sound_incidents import router as incidents_router
from app.timeseries.erasure import router as erasure_router
from app.timeseries.exports import router as exports_router
from app.timeseries.quality import correction_router as corrections_router
from app.timeseries.retention import router as retention_router
from app.timeseries.rollups import router as rollups_router
from app.timeseries.series import box_events_router, multi_series_router, readings_router
from app.timeseries.storage import ingest_totals_router

ROUTERS: Final[tuple[APIRouter, ...]] = (
    organisations_router.router,
    quotas_router.router,
    api_keys_router.router,
    sites_router.router,
    purposes_router.router,
    purposes_router.catalogue,
    purposes_router.declared,
    privacy_refusal_counts_router.router,
    boxes_router.router,
    bulk_boxes_router.router,
    bulk_boxes_router.operations,
    firmware_counts_router.router,
    box_configurations_router.router,
    box_connection_router.router,
    claim_codes_router.router,
    claim_codes_router.anonymous_router,
    provisioning_keys_router.router,
    provisioning_keys_router.anonymous_router,
    metrics_router.router,
    gunshot_sources_router.router,
    sessions_router.anonymous_router,
    sessions_router.router,
    oidc_router.anonymous_router,
    oidc_router.router,
    me_router.router,
    second_factors_router.router,
    members_router.router,
    invitations_router.anonymous_router,
    invitations_router.router,
    telemetry_router.router,
    readings_router.router,
    multi_series_router.router,
    exports_router.router,
    corrections_router.router,
    box_events_router.router,
    quarantine_router.router,
    ingest_totals_router.router,
    rollups_router.router,
    retention_router.router,
    erasure_router.router,
    indices_router.router,
    reports_router.router,
    report_schedules_router.router,
    search_router.router,
    quarantine_replay_router.router,
    # `backtests` would be taken for the id of a rule: they come first.
    backtests_router.router,
    presets_router.router,
    rules_router.router,
    operations_overview_router.router,
    box_map_router.router,
    bulk_alerts_router.router,
    similar_alerts_router.router,
    alerts_router.router,
    silences_router.router,
    inhibitions_router.router,
    incidents_router.router,
    webhooks_router.router,
    channels_router.router,
    endpoint_list_router.router,
    portal_router.router,
    webhook_and_channel_router.router,
    deliveries_router.router,
    replays_router.router,
    event_types_router.router,
    stream_router.router,
    measurement_subscriptions.router,
    measurement_subscriptions.batches,
    measurement_stream_router.router,
    grants_router.router,
    grant_recipient_router.anonymous_router,
    grant_recipient_router.router,
    privacy_requests_router.anonymous_router,
    privacy_requests_router.router,
    security_txt_router.router,
    request_pages.router,
    audit_router.router,
    installation_router.router,
    cluster_router.router,
    # `/sites/{site_id}/…` comes before what takes any path.
    data_router.router,
    pages_router.router,
    sensorthings_router.router,
    ogc_router.router,
    edr_router.router,
    ngsi_ld_subscription_router.router,
    ngsi_ld_router.router,
    guides_router.router,
    invitation_and_reset_router.router,
    grant_pages.router,
    *CONSOLE_ROUTERS,
    health_router.router,
)

STANDARD_APIS: Final = (sensorthings_router.PREFIX, ogc_collections.PREFIX, ngsi_ld_router.PREFIX)
"""Where the APIs of other standards are, which serve open data without a key if the operator enabled that."""
