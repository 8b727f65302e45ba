"""The documents say what the code says: tables made from it, codes, routes, and links.

A table stands between `<!-- made from the code: NAME -->` and `<!-- end -->`. After a change of the code,
`uv run python tests/unit/test_docs.py` writes the tables anew.
"""

import ast
import json
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import unquote
from uuid import UUID

import pytest
from pydantic import BaseModel, SecretStr

from app.catalogue.device_event_types import EVENT_TYPES
from app.catalogue.metrics import CATALOGUE
from app.catalogue.purposes import PURPOSE_BY_EVENT_TYPE, PURPOSES
from app.catalogue.units import FACTORS, MOLAR_MASSES
from app.ingest.adapters.sensor_community_adapter import METRICS
from app.metrics import ALL_METRICS
from app.notifications.delivery import transport_types
from app.notifications.email.mail_rendering import SiteName
from app.notifications.events import event_examples
from app.notifications.events.event_types import EVENTS
from app.notifications.formats import RenderContext, render_event
from app.notifications.http.service_channel_requests import HTTP_CHANNELS, build_channel_request
from app.people.member_roles import SCOPES_OF
from app.platform.config.security_findings import SECURITY_FINDING_TYPES
from app.platform.identity.principals import SCOPES
from app.platform.kernel.errors import VigieError
from app.platform.kernel.rejection_codes import REJECTION_REASONS
from app.processes.api_application import create_app
from app.rules.presets.preset_list import PRESETS
from app.rules.presets.preset_types import LegalValidity, PresetCitation
from app.settings import VigieSettings
from app.standalone import mosquitto_config
from app.timeseries.quality.plausible_ranges import PLAUSIBLE_LIMITS
from tests.integration import bad_calls, bad_input
from tests.unit.catalogue import tables as acoustic_tables
from tests.unit.indicators import tables as city_tables
from tests.unit.markdown import rows

ROOT = Path(__file__).parents[2]
PREFIX = "VIGIE_"
MEND = "Mend it with: uv run python tests/unit/test_docs.py"
BLOCK = re.compile(r"(<!-- made from the code: ([a-z-]+) -->\n)(.*?)(<!-- end -->)", re.DOTALL)
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
FENCE = re.compile(r"^```.*?^```$", re.DOTALL | re.MULTILINE)
METHODS = ("get", "post", "put", "patch", "delete")
# What an attempt's reason means, for people; the codes are the program's.
ATTEMPTS = {
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
    "quota_exceeded": "The organisation has sent the mails of an hour (`VIGIE_SMTP__MAILS_PER_HOUR`): tried "
    "again when there is room",
    "login_refused": "The mail server or the broker refused the account",
    "not_configured": "This installation has no mail server, or not the key of the secret",
    "tls_failed": "The certificate is not valid, or the handshake failed",
    "response_broken": "The connection was closed before an answer, or the answer is not HTTP",
    "internal_error": "A fault of Vigie: its log says more",
}


def documents() -> list[Path]:
    return sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])


def shown(value: Any) -> str:  # noqa: ANN401 (whatever a setting may hold)
    if isinstance(value, SecretStr):
        value = value.get_secret_value()
    if value is None or value == "":
        return "unset" if value is None else "empty"
    if isinstance(value, str):
        return f"`{value}`"
    return f"`{json.dumps(value)}`".replace(".0`", "`")


def flat(model: BaseModel, prefix: str) -> Iterator[tuple[str, str, str]]:
    for name, field in type(model).model_fields.items():
        value = getattr(model, name)
        variable = f"{prefix}{name.upper()}"
        if isinstance(value, BaseModel):
            yield from flat(value, f"{variable}__")
        else:
            yield f"`{variable}`", shown(value), field.description or ""


def defaults() -> VigieSettings:
    """The settings as they are without any environment."""
    values: dict[str, Any] = {name: field.default for name, field in VigieSettings.model_fields.items()}
    return VigieSettings.model_construct(**values)


def settings_table() -> str:
    return rows("variable", "default", "meaning", body=list(flat(defaults(), PREFIX)))


def insecurities_table() -> str:
    body = [
        (
            f"`{code}`",
            ", ".join(f"`{variable}`" for variable in known.variables),
            known.danger,
            known.mend,
            ", ".join(known.roles),
        )
        for code, known in SECURITY_FINDING_TYPES.items()
    ]
    return rows("code", "where", "what may come of it", "set instead", "who does not start", body=body)


def metrics_table() -> str:
    body = []
    for metric in ALL_METRICS:
        kind = str(metric._type)
        name = metric._name + ("_total" if kind == "counter" else "")
        labels = ", ".join(f"`{label}`" for label in metric._labelnames)
        body.append((f"`{name}`", kind, labels, metric._documentation))
    return rows("metric", "type", "labels", "meaning", body=body)


def reasons_table() -> str:
    body = [(f"`{code}`", str(reason.status), reason.title) for code, reason in REJECTION_REASONS.items()]
    return rows("code", "status", "meaning", body=body)


def attempts_table() -> str:
    return rows(
        "reason", "meaning", body=[(f"`{code}`", ATTEMPTS.get(code, "?")) for code in transport_types.REASONS]
    )


def schedule_table() -> str:
    units = ((86_400, "d"), (3600, "h"), (60, "min"), (1, "s"))

    def span(seconds: float) -> str:
        parts = []
        for size, unit in units:
            whole, seconds = divmod(seconds, size)
            if whole:
                parts.append(f"{whole:g} {unit}")
        return " ".join(parts) or "at once"

    schedule = defaults().webhooks.schedule_s
    totals = [sum(schedule[: number + 1]) for number in range(len(schedule))]
    body = [
        (str(number), span(wait), span(total))
        for number, (wait, total) in enumerate(zip(schedule, totals, strict=True), 1)
    ]
    return rows("attempt", "wait before it", "after the event, at the earliest", body=body)


def catalogue_table() -> str:
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
    return rows("metric", "unit", "bounds", "what", "en français", body=body)


def gas_units_table() -> str:
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
    return rows("metric", "g/mol", "stored in", "accepted too, and its factor", body=body)


def purposes_table() -> str:
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
    return rows("purpose", "what", "en français", "metrics", "types of events", "sensitive", body=body)


def event_types_table() -> str:
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
    return rows("type", "what", "en français", "what it may carry", "purpose", body=body)


def cited(citation: PresetCitation | None) -> str:
    if citation is None:
        return ""
    place = citation.document if citation.article is None else f"{citation.document}: {citation.article}"
    where = place if citation.url is None else f"[{place}]({citation.url})"
    return f"`unverified` {where}" if citation.unverified else where


def presets_table() -> str:
    body = [
        (
            f"`{preset.id}`",
            preset.title.en,
            preset.title.fr,
            preset.description.en,
            _span(preset.applies),
            cited(preset.citation),
        )
        for preset in PRESETS.values()
    ]
    return rows("preset", "title", "en français", "what it says", "applies", "source", body=body)


def _span(applies: LegalValidity) -> str:
    """The days on which numbers are law."""
    first, end = applies
    return " ".join(
        f"{word} {day.isoformat()}" for word, day in (("from", first), ("until", end)) if day is not None
    )


def quality_table() -> str:
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
    return rows("metric", "range", "why", "floor of spikes", "flat line", "warm-up", body=body)


def routes_table() -> str:
    paths = create_app(defaults()).openapi()["paths"]
    body = [
        (f"`{method.upper()} {path}`", operation["summary"])
        for path, operations in paths.items()
        for method, operation in operations.items()
        if method in METHODS
    ]
    return rows("call", "what", body=body)


def scopes_list() -> str:
    return ", ".join(f"`{scope}`" for scope in SCOPES) + "\n"


def roles_table() -> str:
    body = [(f"`{role}`", ", ".join(f"`{scope}`" for scope in scopes)) for role, scopes in SCOPES_OF.items()]
    return rows("role", "scopes", body=body)


def access_rules() -> str:
    rules = mosquitto_config.ACCESS_RULES.partition("\n")[2]
    return f"```\n{rules}```\n"


def sensor_community_table() -> str:
    body = [(", ".join(f"`{kind}`" for kind in kinds), f"`{metric}`") for metric, kinds in METRICS.items()]
    return rows("value type", "metric", body=body)


def bad_table(by_mqtt: Sequence[bad_input.Bad], by_http: Sequence[bad_input.Bad]) -> str:
    """What both doors answer, input by input; one that only one of them can get has a dash at the other."""
    mqtt = {case.name: f"`{case.code}`" for case in by_mqtt}
    http = {case.name: f"{case.status} `{case.code}`" for case in by_http}
    names = dict.fromkeys([*mqtt, *http])
    return rows(
        "input",
        "MQTT: in quarantine as",
        "HTTP",
        body=[(name, mqtt.get(name, "-"), http.get(name, "-")) for name in names],
    )


def bad_json() -> str:
    both = [*bad_input.documents(), *bad_input.messages(), *bad_input.samples(), *bad_input.batches()]
    boxes = [bad_input.Bad(name, b"", status, code) for name, _, status, code in bad_input.BOXES]
    return bad_table(both, [*both, *boxes, bad_input.Bad("10 MB", b"", 413, "body_too_large")])


def bad_cbor() -> str:
    both = [*bad_input.cbor_documents(), *bad_input.cbor_samples(), *bad_input.cbor_batches()]
    return bad_table(both, [*both, bad_input.Bad("10 MB", b"", 413, "body_too_large")])


def bad_gzip() -> str:
    both = bad_input.gzip_messages()
    return bad_table(both, [*both, bad_input.Bad("no gzip at all", b"", 400, "invalid_gzip")])


def bad_broker() -> str:
    return rows("input", "what happens", body=bad_input.BROKER)


def bad_keys() -> str:
    body = [(what, f"{status} `{code}`") for what, status, code in bad_calls.KEYS]
    undeclared = [(what, f"415 `{code}`") for what, _, code, _ in bad_calls.UNDECLARED]
    return rows("input", "HTTP", body=[*body, *undeclared])


def bad_rest() -> str:
    found: dict[tuple[str, str], None] = {}
    for call in (*bad_calls.calls(), *bad_calls.lists()):
        found[call.what, f"{call.status} " + ("…" if call.code is None else f"`{call.code}`")] = None
    urls = ("a webhook's URL with user info, `127.1`, `[::ffff:127.0.0.1]`, a metadata address, …",)
    return rows("input", "HTTP", body=[*found, (*urls, "422 `webhook_url_not_allowed`")])


def event_in(format_: str) -> str:
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


def channel_message(kind: str) -> str:
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


BLOCKS: dict[str, Callable[[], str]] = {
    "settings": settings_table,
    "insecure-settings": insecurities_table,
    "metrics": metrics_table,
    "reason-codes": reasons_table,
    "attempt-reasons": attempts_table,
    "retry-schedule": schedule_table,
    "metric-catalogue": catalogue_table,
    "gas-units": gas_units_table,
    "purposes": purposes_table,
    "event-types": event_types_table,
    "presets": presets_table,
    "quality-limits": quality_table,
    "routes": routes_table,
    "scopes": scopes_list,
    "roles": roles_table,
    "access-rules": access_rules,
    "sensor-community": sensor_community_table,
    "bad-json": bad_json,
    "bad-cbor": bad_cbor,
    "bad-gzip": bad_gzip,
    "bad-broker": bad_broker,
    "bad-keys": bad_keys,
    "bad-rest": bad_rest,
    **acoustic_tables.BLOCKS,
    **city_tables.BLOCKS,
    "event-native": partial(event_in, "native"),
    "event-cloudevents": partial(event_in, "cloudevents"),
    "event-alertmanager": partial(event_in, "alertmanager"),
    **{f"channel-{kind}": partial(channel_message, kind) for kind in HTTP_CHANNELS},
}


def made_anew(text: str) -> str:
    return BLOCK.sub(lambda found: f"{found[1]}\n{BLOCKS[found[2]]()}\n{found[4]}", text)


def blocks() -> list[tuple[Path, str, str]]:
    return [
        (path, name, text)
        for path in documents()
        for _, name, text, _ in BLOCK.findall(path.read_text(encoding="utf-8"))
    ]


def codes_in_program() -> set[str]:
    """The stable codes of problems: those of the classes of errors, and those given where one is raised."""
    # Conflicts and invalid requests always say which.
    kinds: list[type[VigieError]] = [VigieError]
    for kind in kinds:
        kinds += kind.__subclasses__()
    codes = {kind.code for kind in kinds} - {"conflict", "invalid"}
    for path in ROOT.glob("app/**/*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call):
                continue
            name = node.func.id if isinstance(node.func, ast.Name) else ""
            given = [keyword.value for keyword in node.keywords if keyword.arg == "code"]
            if name == "CodedValueError":
                given += node.args[:1]
            if name.endswith("Error"):
                codes |= {
                    str(value.value)
                    for value in given
                    if isinstance(value, ast.Constant) and isinstance(value.value, str)
                }
    # Named elsewhere than where they are raised.
    elsewhere = {"claim_expired", "claim_revoked", "claim_used_up", "invalid_csv", "too_many_columns"}
    return codes | elsewhere | {"webhook_url_not_allowed", "method_not_allowed", "invalid_value"}


def problem_codes(text: str) -> set[str]:
    section = text.partition("### Codes of problems")[2].partition("\n## ")[0]
    return set(re.findall(r"^\| `([a-z_]+)` \|", section, re.MULTILINE))


@pytest.mark.parametrize(("path", "name", "text"), blocks(), ids=lambda value: getattr(value, "name", ""))
def test_tables_say_what_the_code_says(path: Path, name: str, text: str) -> None:
    assert name in BLOCKS, f"{path.name}: nothing makes the table {name}"
    assert text == f"\n{BLOCKS[name]()}\n", f"{path.name}: {name} is out of date. {MEND}"


def test_every_table_is_somewhere() -> None:
    assert {name for _, name, _ in blocks()} == set(BLOCKS)


def test_no_reason_of_an_attempt_lacks_its_meaning() -> None:
    assert set(ATTEMPTS) == set(transport_types.REASONS), "complete ATTEMPTS in this file"


def test_every_setting_and_metric_has_a_meaning() -> None:
    assert all(meaning for *_, meaning in flat(defaults(), PREFIX)), "a setting has no description"


def test_every_code_of_a_problem_is_documented() -> None:
    documented = problem_codes((ROOT / "docs" / "api.md").read_text(encoding="utf-8"))
    known = codes_in_program()
    assert known - documented - set(REJECTION_REASONS) == set(), (
        "add these to `Codes of problems` in docs/api.md"
    )
    assert documented - known == set(), "docs/api.md documents codes that nothing raises"


def test_every_webhook_event_is_documented() -> None:
    text = (ROOT / "docs" / "webhooks.md").read_text(encoding="utf-8")
    assert [event for event in EVENTS if f"| `{event}` |" not in text] == []


def anchors(path: Path) -> set[str]:
    titles = re.findall(r"^#+ (.+)$", FENCE.sub("", path.read_text(encoding="utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("path", documents(), ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(path: Path) -> None:
    broken = []
    for link in LINK.findall(FENCE.sub("", path.read_text(encoding="utf-8"))):
        if "://" in link or link.startswith("mailto:"):
            continue
        name, _, anchor = unquote(link).partition("#")
        target = (path.parent / name).resolve() if name else path
        there = target.exists() and target.is_relative_to(ROOT)
        if not there or (anchor and target.suffix == ".md" and anchor not in anchors(target)):
            broken.append(link)
    assert broken == [], f"{path.relative_to(ROOT)} links to what is not there"


NAMED = re.compile(r"`(\w+)` (?:in|of)\s+\[`[^`]+`\]\(([^)#]+\.py)\)")
CODE = re.compile(r"`([a-z]+_[a-z_]+|_[a-z_]+|[A-Z][a-z]+[A-Z]\w+)`")
# Tables, reasons and MQTT's own words.
NO_NAMES = {"incident_marks", "http_error"}


def defined(path: Path) -> set[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    found = {node.name for node in ast.walk(tree) if isinstance(node, DEFINITIONS)}
    assigned = (
        node for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
    )
    return found | {node.id for node in assigned}


@pytest.mark.parametrize(
    "path", sorted((ROOT / "docs" / "walkthroughs").glob("*.md")), ids=lambda path: path.stem
)
def test_walkthroughs_name_what_is_in_the_files(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    known = {
        link: defined((path.parent / link).resolve()) for link in LINK.findall(text) if link.endswith(".py")
    }
    missing = [f"{name} in {link}" for name, link in NAMED.findall(text) if name not in known[link]]
    everywhere = set().union(*known.values())
    missing += [name for name in CODE.findall(text) if name not in everywhere | NO_NAMES]
    assert missing == []


def main() -> None:
    """Write the tables anew."""
    for path in documents():
        text = path.read_text(encoding="utf-8")
        new = made_anew(text)
        if new != text:
            path.write_text(new, encoding="utf-8")
            sys.stdout.write(f"{path.relative_to(ROOT)}\n")


if __name__ == "__main__":
    main()
