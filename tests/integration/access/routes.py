"""The routes of the OpenAPI document as calls: each with a path and a body that fit the client's things."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from tests.openapi import openapi_document

OPEN: Final = frozenset(
    {
        *("get_health", "get_readiness", "get_prometheus_metrics", "redeem_claim"),
        "get_security_txt",
        *("create_rights_request", "get_rights_request_status", "withdraw_rights_request"),
        *("sign_in_with_second_factor", "start_passkey_sign_in", "sign_in_with_passkey"),
        *("sign_in", "accept_invitation", "reset_password", "get_oidc", "start_oidc", "confirm_oidc"),
        *("get_register", "get_register_csv", "get_register_geojson", "get_register_changes"),
        *("get_register_site", "get_register_site_geojson", "get_register_site_data"),
        *("get_register_site_dtpr", "get_register_site_changes"),
        *("get_register_site_recent", "get_register_site_recent_csv"),
        "get_ngsi_ld_context",
    }
)
"""Routes that ask for no key."""

OPTIONAL_KEY: Final = frozenset(
    {
        *("get_sensorthings_root", "list_sensorthings_entities"),
        *("get_ogc_landing_page", "list_ogc_conformance_classes", "get_ogc_api_definition"),
        *("list_ogc_collections", "get_ogc_collection", "list_ogc_features", "get_ogc_feature"),
        *("get_ogc_position", "get_ogc_area", "list_ogc_locations", "get_ogc_location"),
        *("list_ngsi_ld_entities", "get_ngsi_ld_entity", "list_ngsi_ld_types"),
    }
)
"""Routes that show open data without a key: tests of `sensorthings`, `ogc_api`, `ngsi_ld` cover to whom."""

OTHER_KEYS: Final = frozenset(
    {
        *("provision_box", "get_portal", "get_portal_health"),
        *("list_portal_deliveries", "get_portal_delivery"),
        *("get_grant_offer", "accept_grant_offer"),
    }
)
"""Routes with a key of another kind, which tests of their own cover."""

ANY_KEY: Final = frozenset(
    {
        *("list_metrics", "list_indices", "list_rule_presets", "get_rule_preset", "list_event_types"),
        *("list_purposes", "list_event_catalogue"),
        *("list_acoustic_sources", "get_acoustic_source", "get_me", "get_connection"),
    }
)
"""Routes that a key without any scope may call: they show what Vigie is, nothing of anybody."""

PEOPLE_ONLY: Final = frozenset(
    {
        *("update_me", "change_password", "list_my_sessions", "end_my_session"),
        *("switch_organisation", "sign_out"),
        *("get_second_factors", "prove_identity", "start_totp", "confirm_totp", "remove_totp"),
        *("start_passkey", "create_passkey", "remove_passkey", "create_recovery_codes"),
    }
)
"""Routes for people who signed in: no key opens them."""

GRANT_KEY_ONLY: Final = frozenset(
    {
        *("get_own_grant", "list_own_grant_uses", "list_own_grant_keys"),
        *("create_own_grant_key", "revoke_own_grant_key"),
    }
)
"""Routes for the keys of grants alone."""

GRANTED: Final = GRANT_KEY_ONLY | {
    *("list_metrics", "list_sites", "get_site", "list_boxes", "get_box"),
    *("get_box_latest", "list_site_latest", "get_box_readings", "list_readings", "export_readings"),
    *("stream_measurements", "list_changes"),
}
"""Routes that the key of a grant opens. They limit their answer to the grant."""

PLATFORM_ONLY: Final = frozenset(
    {
        *("list_ingest_totals", "get_roll_ups", "create_roll_up_backfill"),
        *("get_mail_settings", "set_mail_settings", "delete_mail_settings", "test_mail_settings"),
        *("get_public_url", "set_public_url", "delete_public_url"),
        *("get_cluster", "delete_cluster_edge"),
    }
)
"""Routes for the platform's administrators alone."""

_BODIES: Final[Mapping[str, Any]] = {
    "acknowledge_alerts": {"ids": ["@alert_id"]},
    "change_alerts": {"ids": ["@alert_id"], "operation": {"type": "assign", "assignee": "theirs"}},
    "escalate_alert": {"severity": "critical"},
    "apply_rule_preset": {"site_id": "@site_id"},
    "create_backtest": {
        "rule_id": "@rule_id",
        "from": "2026-03-01T00:00:00Z",
        "to": "2026-03-02T00:00:00Z",
    },
    "change_boxes": {"ids": ["@box"], "operation": {"type": "delete"}},
    "create_boxes": {"boxes": [{"id": "stolen-0001", "site_id": "@site_id"}]},
    "create_api_key": {"name": "theirs", "scopes": ["sites:read"], "organisation_id": "@organisation_id"},
    "create_correction": {
        "metric": "pm10",
        "kind": "linear",
        "offset": 1,
        "valid_from": "2026-03-01T00:00:00Z",
    },
    "create_grant": {
        "recipient": "theirs",
        "recipient_country": "FR",
        "contact": "theirs@example.com",
        "purpose": "theirs",
        "site_ids": ["@site_id"],
        "metrics": ["pm2_5"],
        "terms": "theirs",
        "valid_until": "2099-01-01T00:00:00Z",
        "organisation_id": "@organisation_id",
    },
    "update_grant": {"purpose": "theirs"},
    "create_inhibition": {
        "name": "theirs",
        "source": {"rule_ids": ["@rule_id"]},
        "target": {"site_ids": ["@site_id"]},
        "equal": ["site"],
    },
    "create_silence": {
        "matchers": {"site_ids": ["@site_id"]},
        "ends_at": "2099-01-01T00:00:00Z",
        "comment": "theirs",
    },
    "create_webhook": {"url": "https://example.com/theirs", "site_ids": ["@site_id"]},
    "create_channel": {"kind": "mqtt", "site_ids": ["@site_id"], "organisation_id": "@organisation_id"},
    "create_organisation": {"name": "theirs", "parent_id": "@organisation_id"},
    "create_invitation": {
        "organisation_id": "@organisation_id",
        "email": "theirs@example.com",
        "role": "viewer",
    },
    "create_measurement_subscription": {
        "name": "theirs",
        "sink": {"kind": "webhook", "url": "https://example.com/theirs"},
        "filter": {"site_ids": ["@site_id"]},
    },
    "rewind_measurement_subscription": {"item": "0-0"},
    "create_report_schedule": {"site_id": "@site_id", "report": "day", "recipients": ["theirs@example.com"]},
    "create_site": {
        "organisation_id": "@organisation_id",
        "name": "theirs",
        "kind": "street",
        "timezone": "UTC",
        "location": {"type": "Point", "coordinates": [0, 0]},
    },
    "post_events": {"box": "@box", "events": [{"time": "2026-03-01T00:00:00Z", "type": "tamper"}]},
    "post_telemetry": {
        "box": "@box",
        "samples": [{"time": "2026-03-01T00:00:00Z", "values": {"pm2_5": 1}}],
    },
    "push_sensor_community": {
        "esp8266id": "1",
        "sensordatavalues": [{"value_type": "SDS_P1", "value": "1"}],
    },
    "replay_quarantine": {"box": "@box"},
    "create_webhook_replay": {"since": "2026-03-01T00:00:00Z"},
    "create_channel_replay": {"since": "2026-03-01T00:00:00Z"},
}
PRESET: Final = "who-pm2-5-24h"
SOURCE: Final = "glock-17"
_QUERIES: Final[Mapping[str, str]] = {
    "get_box_readings": "?metric=pm2_5",
    "list_readings": "?metric=pm2_5&box=@box",
    "list_search_results": "?q=zebra",
    "list_site_index_history": "?method=eaqi&box=@box",
    "get_site_daily_report": "?date=2026-01-02&box=@box",
    "get_site_weekly_report": "?date=2026-01-05&box=@box",
    "get_site_monthly_report": "?month=2026-01&box=@box",
    "get_site_indices": "?method=eaqi&at=2026-01-02T00:00:00Z&box=@box",
    "get_readings_comparison": "?metric=pm2_5&from=2026-01-01T00:00:00Z&to=2026-01-02T00:00:00Z&box=@box",
    "create_backtest": "?wait=0",
    "stream_events": "?organisation=@organisation_id",
    "stream_measurements": "?organisation=@organisation_id",
    "list_changes": "?box=@box",
    "list_audit_entries": "?organisation=@organisation_id",
    "get_audit_head": "?organisation=@organisation_id",
    "get_audit_entry": "?organisation=@organisation_id",
    "export_audit": "?organisation=@organisation_id",
    "get_incident_statistics": "?from=2026-01-01T00:00:00Z&to=2099-01-01T00:00:00Z",
    "export_readings": "?from=2026-01-01T00:00:00Z&to=2099-01-01T00:00:00Z&box=@box",
    "list_export_parts": "?from=2026-01-01T00:00:00Z&to=2099-01-01T00:00:00Z&box=@box",
}
# Parameters whose name says less than the path does.
_PATHS: Final = {"/v1/provisioning-keys/{key_id}": "provisioning_key"}


@dataclass(frozen=True)
class Route:
    """One operation of the document.

    Attributes:
        name: its operation id.
        method: of HTTP.
        path: with the client's ids.
        body: of JSON, with the client's ids; None where there is none.
        refers: whether path, query or body name something of the client's.
    """

    name: str
    method: str
    path: str
    body: Any = field(hash=False)
    refers: bool

    @property
    def given(self) -> str:
        """All that a caller says itself."""
        return f"{self.path} {self.body}"


def _filled(value: Any, ids: Mapping[str, str]) -> Any:  # noqa: ANN401 (JSON)
    if isinstance(value, str):
        return re.sub(r"@(\w+)$", lambda found: ids[found[1]], value)
    if isinstance(value, list):
        return [_filled(each, ids) for each in value]
    if isinstance(value, dict):
        return {name: _filled(each, ids) for name, each in value.items()}
    return value


def _replaced(value: Any, ids: Mapping[str, str], key: str = "") -> Any:  # noqa: ANN401 (JSON)
    """An example of the document, with the client's ids where it has others."""
    if isinstance(value, dict):
        return {name: _replaced(each, ids, name) for name, each in value.items()}
    if isinstance(value, list):
        return [_replaced(each, ids, key.removesuffix("s")) for each in value]
    known = {"site_id": "site_id", "rule_id": "rule_id", "box": "box", "box_id": "box"}
    return ids[known[key]] if key in known and isinstance(value, str) else value


def _example(document: Mapping[str, Any], operation: Mapping[str, Any]) -> Any:  # noqa: ANN401 (JSON)
    media = operation.get("requestBody", {}).get("content", {}).get("application/json")
    if media is None:
        return None
    named = media.get("examples")
    if isinstance(named, dict):
        return next(iter(named.values()))["value"]
    schema = media["schema"]
    for choice in (schema, *schema.get("anyOf", [])):
        target = choice
        if "$ref" in choice:
            target = document["components"]["schemas"][choice["$ref"].rpartition("/")[2]]
        if target.get("examples"):
            return target["examples"][0]
    return None


def routes(ids: Mapping[str, str]) -> Iterator[Route]:
    """All operations of the document, those that delete last."""
    document = openapi_document()
    found = []
    for template, operations in document["paths"].items():
        own = {
            "preset_id": PRESET,
            "source_id": SOURCE,
            "position": "1",
            "purpose": "noise",
            "name": "edge-a",
            "entity_set": "Things",
            "collection_id": "boxes",
            "feature_id": "1",
            "location_id": "1",
            "entity_id": "urn:ngsi-ld:Device:1",
            **ids,
        }
        if template in _PATHS:
            own["key_id"] = ids[_PATHS[template]]
        for method, operation in operations.items():
            name = operation["operationId"]
            path = template.format_map(own)
            query = _filled(_QUERIES.get(name, ""), ids)
            if name in _BODIES:
                body = _filled(_BODIES[name], ids)
            else:
                body = _replaced(_example(document, operation), ids)
            refers = any(each in f"{path} {query} {body}" for each in ids.values() if len(each) > 1)
            found.append(Route(name, method.upper(), path + query, body, refers))
    yield from sorted(found, key=lambda route: route.method == "DELETE")
