"""Generates the tables and examples of the guides from the code: settings, metrics, codes, routes, events."""

import json
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Final
from uuid import UUID

from pydantic import BaseModel, SecretStr

from app.all_metrics import ALL_METRICS
from app.catalogue.device_event_types import EVENT_TYPES
from app.catalogue.metrics import CATALOGUE
from app.catalogue.purposes import PURPOSE_BY_EVENT_TYPE, PURPOSES
from app.catalogue.units import FACTORS, MOLAR_MASSES
from app.ingest.adapters.sensor_community_adapter import METRICS
from app.notifications.delivery import transport_types
from app.notifications.email.mail_rendering import SiteName
from app.notifications.events import event_examples
from app.notifications.formats import RenderContext, render_event
from app.notifications.http.service_channel_requests import HTTP_CHANNELS, build_channel_request
from app.people.member_roles import SCOPES_OF
from app.platform.config.security_finding_catalogue import SECURITY_FINDING_TYPES
from app.platform.identity.caller_authentication import SCOPES
from app.platform.kernel.rejection_codes import REJECTION_REASONS
from app.processes.api_application import create_app
from app.rules.presets.preset_list import PRESETS
from app.rules.presets.preset_types import LegalValidity, PresetCitation
from app.standalone import mosquitto_config
from app.timeseries.quality.plausible_ranges import PLAUSIBLE_LIMITS
from tools.acoustic_source_tables import ACOUSTIC_SOURCE_TABLES
from tools.alert_tables import ALERT_TABLES
from tools.bad_input_tables import BAD_INPUT_TABLES
from tools.capacity_tables import CAPACITY_TABLES
from tools.default_settings import default_settings
from tools.index_tables import INDEX_TABLES
from tools.licence_tables import LICENCE_TABLES
from tools.markdown_tables import render_rows
from tools.observed_property_tables import OBSERVED_PROPERTY_TABLES
from tools.scale_tables import SCALE_TABLES

PREFIX = "VIGIE_"
METHODS = ("get", "post", "put", "patch", "delete")
# What an attempt's reason means, for people; the codes are the program's.
ATTEMPT_REASONS = {
    "delivered": "A status of 200 to 299",
    "redirect_refused": "A status of 300 to 399: redirects are not followed",
    "http_error": "Any other status",
    "timeout": "No status within the time for an attempt",
    "connect_timeout": "No connection in time",
    "connect_failed": "The connection was refused, or the host cannot be reached",
    "name_unresolved": "The host's name has no address",
    "address_refused": "The URL or its address is one that webhooks must not reach",
    "gone": "A status of 410: the endpoint is disabled",
    "rate_limited": "A status of 429: slowed down",
    "mail_refused": "The mail server refused the mail for good",
    "mail_deferred": "The mail server did not take the mail now",
    "quota_exceeded": "The recipients of an hour are used up (`VIGIE_SMTP__MAILS_PER_HOUR`): tried "
    "again when there is room",
    "login_refused": "The mail server or the broker refused the account",
    "not_configured": "This installation has no mail server, or not the key of the secret",
    "tls_failed": "The certificate is not valid, or the handshake failed",
    "response_broken": "The connection was closed before an answer, or the answer is not HTTP",
    "internal_error": "A fault of Vigie: its log says more",
}


def format_setting(value: Any) -> str:  # noqa: ANN401 (whatever a setting may hold)
    if isinstance(value, SecretStr):
        value = value.get_secret_value()
    if value is None or value == "":
        return "unset" if value is None else "empty"
    if isinstance(value, str | Path):
        return f"`{value}`"
    return f"`{json.dumps(value)}`".replace(".0`", "`")


def flatten_settings(model: BaseModel, prefix: str) -> Iterator[tuple[str, str, str]]:
    for name, field in type(model).model_fields.items():
        value = getattr(model, name)
        variable = f"{prefix}{name.upper()}"
        if isinstance(value, BaseModel):
            yield from flatten_settings(value, f"{variable}__")
        else:
            yield f"`{variable}`", format_setting(value), field.description or ""


def render_settings_table() -> str:
    return render_rows(
        "variable", "default", "meaning", body=list(flatten_settings(default_settings(), PREFIX))
    )


def render_insecurities_table() -> str:
    body = [
        (
            f"`{code}`",
            ", ".join(f"`{variable}`" for variable in known.variables),
            known.danger,
            known.fix,
            ", ".join(known.roles),
        )
        for code, known in SECURITY_FINDING_TYPES.items()
    ]
    return render_rows("code", "settings", "risk", "fix", "processes that do not start", body=body)


def render_metrics_table() -> str:
    body = []
    for metric in ALL_METRICS:
        kind = str(metric._type)  # noqa: SLF001 (it has no other way)
        name = metric._name + ("_total" if kind == "counter" else "")  # noqa: SLF001 (it has no other way)
        labels = ", ".join(f"`{label}`" for label in metric._labelnames)  # noqa: SLF001 (it has no other way)
        body.append((f"`{name}`", kind, labels, metric._documentation))  # noqa: SLF001 (the same)
    return render_rows("metric", "type", "labels", "meaning", body=body)


def render_reasons_table() -> str:
    body = [(f"`{code}`", str(reason.status), reason.title) for code, reason in REJECTION_REASONS.items()]
    return render_rows("code", "status", "meaning", body=body)


def render_attempts_table() -> str:
    return render_rows(
        "reason",
        "meaning",
        body=[(f"`{code}`", ATTEMPT_REASONS.get(code, "?")) for code in transport_types.REASONS],
    )


def render_schedule_table() -> str:
    units = ((86_400, "d"), (3600, "h"), (60, "min"), (1, "s"))

    def span(seconds: float) -> str:
        parts = []
        for size, unit in units:
            whole, seconds = divmod(seconds, size)
            if whole:
                parts.append(f"{whole:g} {unit}")
        return " ".join(parts) or "at once"

    schedule = default_settings().webhooks.schedule_s
    totals = [sum(schedule[: number + 1]) for number in range(len(schedule))]
    body = [
        (str(number), span(wait), span(total))
        for number, (wait, total) in enumerate(zip(schedule, totals, strict=True), 1)
    ]
    return render_rows("attempt", "wait before it", "after the event, at the earliest", body=body)


def render_catalogue_table() -> str:
    body = [
        (
            f"`{metric.name}`",
            metric.unit,
            f"{metric.minimum:,g} to {metric.maximum:,g}",
            metric.description,
            metric.description_fr,
        )
        for metric in CATALOGUE
    ]
    return render_rows("metric", "unit", "bounds", "what", "en français", body=body)


def render_gas_units_table() -> str:
    """How gases are converted, for each metric of one."""
    body = [
        (
            f"`{metric}`",
            f"{mass:.3f}",
            next(iter(FACTORS[metric])),
            ", ".join(
                f"{unit} \N{MULTIPLICATION SIGN} {factor:.6g}"
                for unit, factor in list(FACTORS[metric].items())[1:]
            ),
        )
        for metric, mass in MOLAR_MASSES.items()
    ]
    return render_rows("metric", "g/mol", "stored in", "accepted too, and its factor", body=body)


def render_purposes_table() -> str:
    body = [
        (
            f"`{purpose.name}`",
            purpose.title,
            purpose.title_fr,
            ", ".join(f"`{name}`" for name in purpose.metrics),
            ", ".join(f"`{name}`" for name in purpose.events),
            "yes" if purpose.sensitive else "",
        )
        for purpose in PURPOSES
    ]
    return render_rows("purpose", "what", "en français", "metrics", "types of events", "sensitive", body=body)


def render_event_types_table() -> str:
    carries = {
        "recognised": "`candidates`, `level_db`, `spectrum`, `clock_error_ms`, each if known",
        "plain": "nothing more",
        "count": "`count`",
        "state": "`state`",
    }
    body = [
        (
            f"`{kind.name}`",
            kind.title,
            kind.title_fr,
            carries[kind.form],
            f"`{PURPOSE_BY_EVENT_TYPE[kind.name]}`",
        )
        for kind in EVENT_TYPES
    ]
    return render_rows("type", "what", "en français", "what it may carry", "purpose", body=body)


def format_citation(citation: PresetCitation | None) -> str:
    if citation is None:
        return ""
    place = citation.document if citation.article is None else f"{citation.document}: {citation.article}"
    where = place if citation.url is None else f"[{place}]({citation.url})"
    return f"`unverified` {where}" if citation.unverified else where


def render_presets_table() -> str:
    body = [
        (
            f"`{preset.id}`",
            preset.title.en,
            preset.title.fr,
            preset.description.en,
            _format_validity(preset.applies),
            format_citation(preset.citation),
        )
        for preset in PRESETS.values()
    ]
    return render_rows("preset", "title", "en français", "what it says", "applies", "source", body=body)


def _format_validity(applies: LegalValidity) -> str:
    """The days on which numbers are law."""
    first, end = applies
    return " ".join(
        f"{word} {day.isoformat()}" for word, day in (("from", first), ("until", end)) if day is not None
    )


def render_quality_table() -> str:
    """What flags go by, metric by metric; a dash where a flag is not looked for."""

    def span(seconds: int | None) -> str:
        if not seconds:
            return "-"
        return f"{seconds // 3600} h" if seconds % 3600 == 0 else f"{seconds // 60} min"

    body = []
    for metric in CATALOGUE:
        limits = PLAUSIBLE_LIMITS[metric.name]
        low = "" if limits.low is None else f"from {limits.low:,g}"
        high = "" if limits.high is None else f"to {limits.high:,g}"
        rests = ", ".join(f"{rest:g}" for rest in sorted(limits.rests))
        body.append(
            (
                f"`{metric.name}` ({metric.unit})",
                f"{low} {high}".strip() or "-",
                limits.why or "-",
                "-" if limits.spike_floor is None else f"{limits.spike_floor:g}",
                span(limits.flat_s) + (f", not at {rests}" if rests else ""),
                span(limits.warm_up_s),
            )
        )
    return render_rows("metric", "range", "why", "floor of spikes", "flat line", "warm-up", body=body)


def render_routes_table() -> str:
    paths = create_app(default_settings()).openapi()["paths"]
    body = [
        (f"`{method.upper()} {path}`", operation["summary"])
        for path, operations in paths.items()
        for method, operation in operations.items()
        if method in METHODS
    ]
    return render_rows("call", "what", body=body)


def render_scopes() -> str:
    return ", ".join(f"`{scope}`" for scope in SCOPES) + "\n"


def render_roles_table() -> str:
    body = [(f"`{role}`", ", ".join(f"`{scope}`" for scope in scopes)) for role, scopes in SCOPES_OF.items()]
    return render_rows("role", "scopes", body=body)


def render_access_rules() -> str:
    rules = mosquitto_config.ACCESS_RULES.partition("\n")[2]
    return f"```\n{rules}```\n"


def render_sensor_community_table() -> str:
    body = [(", ".join(f"`{kind}`" for kind in kinds), f"`{metric}`") for metric, kinds in METRICS.items()]
    return render_rows("value type", "metric", body=body)


def render_event_example(format_: str) -> str:
    """The end of an alert as one format has it."""
    event = RenderContext(
        json.dumps(event_examples.EXAMPLES["alert.resolved"], ensure_ascii=False).encode(),
        UUID(event_examples.EVENT_ID),
        UUID(event_examples.ORGANISATION),
        UUID(event_examples.SITE),
        "https://vigie.example.com",
    )
    sent = json.loads(render_event("webhook", format_, event))
    return f"```json\n{json.dumps(sent, ensure_ascii=False, indent=2)}\n```\n"


def render_channel_example(kind: str) -> str:
    """What a channel of a kind is posted of an alert that fires."""
    event = RenderContext(
        json.dumps(event_examples.EXAMPLES["alert.firing"]).encode(),
        UUID(event_examples.EVENT_ID),
        UUID(event_examples.ORGANISATION),
        UUID(event_examples.SITE),
        "https://vigie.example.com",
        sites={event_examples.SITE: SiteName("Rue de Metz", "Europe/Paris")},
    )
    target = {"url": "https://example.com", "topic": "ville-alertes"}
    credentials = {"url": "https://example.com", "routing_key": "a1b2c3d4e5f60718293a4b5c6d7e8f90"}
    sent = json.loads(
        build_channel_request(kind, target, credentials, render_event(kind, "native", event)).body
    )
    return f"```json\n{json.dumps(sent, ensure_ascii=False, indent=2)}\n```\n"


TABLES: Final[Mapping[str, Callable[[], str]]] = {
    "settings": render_settings_table,
    "insecure-settings": render_insecurities_table,
    "metrics": render_metrics_table,
    "reason-codes": render_reasons_table,
    "attempt-reasons": render_attempts_table,
    "retry-schedule": render_schedule_table,
    "metric-catalogue": render_catalogue_table,
    "gas-units": render_gas_units_table,
    "purposes": render_purposes_table,
    "event-types": render_event_types_table,
    "presets": render_presets_table,
    "quality-limits": render_quality_table,
    "routes": render_routes_table,
    "scopes": render_scopes,
    "roles": render_roles_table,
    "access-rules": render_access_rules,
    "sensor-community": render_sensor_community_table,
    **ACOUSTIC_SOURCE_TABLES,
    **ALERT_TABLES,
    **BAD_INPUT_TABLES,
    **CAPACITY_TABLES,
    **SCALE_TABLES,
    **INDEX_TABLES,
    **OBSERVED_PROPERTY_TABLES,
    **LICENCE_TABLES,
    "event-native": partial(render_event_example, "native"),
    "event-cloudevents": partial(render_event_example, "cloudevents"),
    "event-alertmanager": partial(render_event_example, "alertmanager"),
    **{f"channel-{kind}": partial(render_channel_example, kind) for kind in HTTP_CHANNELS},
}
