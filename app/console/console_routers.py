"""Lists the routers of the console."""

from typing import Final

from fastapi import APIRouter

from app.console.account import account_router, second_factors_router, second_step_router, sign_in_router
from app.console.administration import (
    administration_router,
    audit_router,
    cluster_router,
    exports_router,
    grants_router,
    installation_router,
    keys_router,
    members_router,
    organisations_router,
    purposes_router,
    report_schedules_router,
    rights_router,
)
from app.console.alerts import alert_router, alerts_router
from app.console.delivery import delivery_log_router, delivery_router, endpoint_form_router, portal_router
from app.console.fleet import (
    box_import_router,
    box_registration_router,
    claims_router,
    fleet_operations_router,
    fleet_router,
    provisioning_keys_router,
    quarantine_router,
    start_router,
)
from app.console.framework import live_router, static_files
from app.console.incidents import incidents_router
from app.console.now import now_router
from app.console.rules import rule_builder_router, rule_presets_router, rules_router
from app.console.sites import box_router, box_settings_router, series_router, site_router, sites_router

CONSOLE_ROUTERS: Final[tuple[APIRouter, ...]] = (
    static_files.router,
    sign_in_router.router,
    second_step_router.router,
    live_router.router,
    account_router.router,
    now_router.router,
    alerts_router.router,
    alert_router.router,
    rule_presets_router.router,
    rule_builder_router.router,
    rules_router.router,
    sites_router.router,
    site_router.router,
    box_router.router,
    box_settings_router.router,
    series_router.router,
    incidents_router.router,
    delivery_log_router.router,
    endpoint_form_router.router,
    delivery_router.router,
    second_factors_router.router,
    administration_router.router,
    organisations_router.router,
    members_router.router,
    keys_router.router,
    purposes_router.router,
    rights_router.router,
    grants_router.router,
    audit_router.router,
    exports_router.router,
    report_schedules_router.router,
    installation_router.router,
    cluster_router.router,
    portal_router.router,
    fleet_router.router,
    fleet_operations_router.router,
    box_import_router.router,
    claims_router.router,
    box_registration_router.router,
    provisioning_keys_router.router,
    quarantine_router.router,
    start_router.router,
)
