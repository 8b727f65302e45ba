"""Checks the configuration of a sink, and separates its secrets from what is shown.

A secret is only sent to the address and the account for which it was given: if one of them changes, the
client has to give it again.
"""

import ssl
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple
from uuid import UUID

import msgspec
from pydantic import BaseModel

from app.measurement_stream.formats.format_registry import FORMATS, FormatName
from app.measurement_stream.sinks.sink_types import FORMER_SECRETS, SinkKind
from app.measurement_stream.subscriptions.sink_schemas import (
    COMPRESSED,
    FORMATS_BY_SINK,
    SAMPLES_ONLY,
    SECRETS,
)
from app.notifications.http.self_call_guard import reject_own_url
from app.notifications.http.ssrf_guard import check_url
from app.notifications.http.webhook_secrets import retire_secret
from app.notifications.http.webhook_signatures import generate_secret
from app.platform.kernel.errors import InvalidError
from app.platform.secrets.sealed_columns import MEASUREMENT_CREDENTIALS
from app.platform.secrets.sealing import SealingError, SecretSealer, require_encryption_key

OVERLAP: Final = timedelta(days=1)
"""How long the former secret of a webhook signs after another one was given."""

_ADDRESSES: Final = ("url", "server", "servers", "tls", "username")
_BY_ACCOUNT: Final = frozenset({"kafka", "nats", "influxdb", "prometheus"})
_PASSWORD_NEEDED: Final = frozenset({"rabbitmq", "postgresql"})


class SinkRules(NamedTuple):
    """The rules for the addresses of sinks, and the sealer of their secrets.

    Attributes:
        allow_private: Whether connections without TLS and to private addresses are allowed.
        public_url: The API's own public URL, which is refused; empty if it is not configured.
        sealer: Encrypts secrets.
        allow_kafka: Whether sinks of the kind `kafka` are allowed.
    """

    allow_private: bool
    public_url: str
    sealer: SecretSealer
    allow_kafka: bool = False


class StoredSink(NamedTuple):
    """The columns `target` and `credentials` of a subscription."""

    target: dict[str, Any]
    credentials: str | None


def choose_format(
    kind: SinkKind, given: FormatName | None, kinds: list[Any], *, gzip: bool
) -> FormatName | None:
    """Return the format of a sink: the given one, or its default.

    Args:
        kind: The kind of sink.
        given: The given format, if any.
        kinds: The kinds of items of the filter.
        gzip: Whether bodies are compressed.

    Raises:
        InvalidError: `format_not_offered`, `format_without_kind`, `gzip_not_offered`.
    """
    offered = FORMATS_BY_SINK[kind]
    if gzip and kind not in COMPRESSED:
        raise InvalidError(
            f"A sink of the kind {kind} has no bodies to compress. Leave `gzip` out.", code="gzip_not_offered"
        ).at("body.gzip")
    if given is not None and given not in offered:
        choice = f"Use {', '.join(offered)}." if offered else "Leave `format` out: it has only its own."
        raise InvalidError(
            f"A sink of the kind {kind} does not offer the format {given}. {choice}",
            code="format_not_offered",
        ).at("body.format")
    chosen = given or ("json" if offered else None)
    able = FORMATS[chosen].kinds if chosen else ("sample",) if kind in SAMPLES_ONLY else None
    if able is not None and not set(kinds) <= set(able):
        advice = "Change `filter.kinds`, or choose `json`." if offered else "Change `filter.kinds`."
        called = f"The format {chosen}" if chosen else f"A sink of the kind {kind}"
        raise InvalidError(
            f"{called} can express items of the kind {' and '.join(able)} only. {advice}",
            code="format_without_kind",
        ).at("body.filter.kinds")
    return chosen


def configure_sink(
    subscription_id: UUID,
    sink: BaseModel,
    rules: SinkRules,
    now: datetime,
    before: StoredSink | None = None,
) -> StoredSink:
    """Check a given sink, and return its columns. The former secret of a webhook signs for another day.

    Args:
        subscription_id: The subscription, to which its secrets are bound.
        sink: The given configuration with its secrets.
        rules: The rules for addresses.
        now: The time of the change.
        before: The columns before a change, with secrets that may stay; None: it is new.

    Raises:
        InvalidError: `kafka_not_allowed`, `webhook_url_not_allowed`, `sink_address_not_allowed`,
            `sink_without_tls`, `invalid_certificate`, `missing_field`, `secrets_unreadable`,
            `secret_required`.
        ConflictError: `too_many_secrets`.
        UnavailableError: `encryption_key_missing`.
    """
    given = sink.model_dump(mode="json")
    kind = given.pop("kind")
    if kind == "kafka" and not rules.allow_kafka:
        raise InvalidError(
            "This installation does not allow sinks of the kind kafka. Use another kind; its operator can "
            "set `VIGIE_WEBHOOKS__ALLOW_KAFKA`.",
            code="kafka_not_allowed",
        ).at("body.sink.kind")
    target = {name: value for name, value in given.items() if name not in SECRETS}
    _check_address(target, rules)
    _check_certificate(target.get("ca_certificate"))
    secrets: dict[str, Any] = {
        name: given[name] for name in SECRETS if name in given and name in sink.model_fields_set
    }
    if before is not None:
        moved = any(target.get(name) != before.target.get(name) for name in _ADDRESSES)
        offered = [name for name in SECRETS if name in given]
        known = _open_known(subscription_id, before, secrets, rules.sealer, offered)
        secrets = _retain_secrets(known, secrets, moved=moved)
        if kind == "webhook" and secrets.get("secret") is None:
            raise InvalidError(
                "A webhook always signs. Leave `secret` out to keep it, or replace it with "
                "`POST …/rotate-secret`.",
                code="secret_required",
            ).at("body.sink.secret")
        if known.get("secret") and secrets["secret"] != known["secret"]:
            former = known.get(FORMER_SECRETS, [])
            secrets[FORMER_SECRETS] = retire_secret(known["secret"], former, now, now + OVERLAP)
    if kind == "webhook" and secrets.get("secret") is None:
        secrets["secret"] = generate_secret()
    secrets = {name: value for name, value in secrets.items() if value is not None}
    _check_login(kind, target, secrets)
    return StoredSink(target, seal_secrets(subscription_id, secrets, rules.sealer) if secrets else None)


def seal_secrets(subscription_id: UUID, secrets: Mapping[str, Any], sealer: SecretSealer) -> str:
    """Seal the secrets of a sink (UnavailableError `encryption_key_missing`)."""
    require_encryption_key(sealer)
    text = msgspec.json.encode(secrets).decode()
    return MEASUREMENT_CREDENTIALS.seal(sealer, text, subscription_id)


def open_secrets(subscription_id: UUID, credentials: str | None, sealer: SecretSealer) -> dict[str, Any]:
    """Open the secrets of a sink (SealingError)."""
    if credentials is None:
        return {}
    opened = MEASUREMENT_CREDENTIALS.open(sealer, credentials, subscription_id)
    return msgspec.json.decode(opened, type=dict[str, Any])


def _open_known(
    subscription_id: UUID,
    before: StoredSink,
    given: Mapping[str, Any],
    sealer: SecretSealer,
    offered: Sequence[str],
) -> dict[str, Any]:
    """Open the secrets before a change; empty if they cannot be opened, and the client gives all again."""
    try:
        return open_secrets(subscription_id, before.credentials, sealer)
    except SealingError:
        # What was stored is unknown, so nothing may disappear, or be generated, unnoticed.
        missing = [name for name in offered if name not in given or (name == "secret" and not given[name])]
        if missing:
            raise InvalidError(
                "This installation cannot decrypt the secrets of the sink: give "
                f"{', '.join(f'`{name}`' for name in missing)} again. All but `secret` can be null.",
                code="secrets_unreadable",
            ).at(f"body.sink.{missing[0]}") from None
        return {}


def _retain_secrets(known: Mapping[str, Any], given: Mapping[str, Any], *, moved: bool) -> dict[str, Any]:
    """Return the secrets after a change: the given ones, and those that may stay."""
    if moved:
        # The secrets of a webhook only sign; they are never sent.
        sent = [name for name in known if name not in {"secret", FORMER_SECRETS, *given}]
        if sent:
            raise InvalidError(
                f"The address or the account changes: give `{sent[0]}` again, or null to remove it.",
                code="missing_field",
            ).at(f"body.sink.{sent[0]}")
    return {**known, **given}


def _check_login(kind: str, target: Mapping[str, Any], secrets: Mapping[str, Any]) -> None:
    has_password = "password" in secrets
    if kind in _PASSWORD_NEEDED and not has_password:
        raise InvalidError("The account has no password: give `password`.", code="missing_field").at(
            "body.sink.password"
        )
    if kind in _BY_ACCOUNT and has_password != (target.get("username") is not None):
        missing = "username" if has_password else "password"
        raise InvalidError(
            f"An account needs its password, and a password its account: give `{missing}`, or neither.",
            code="missing_field",
        ).at(f"body.sink.{missing}")


def _check_address(target: Mapping[str, Any], rules: SinkRules) -> None:
    if "url" in target:
        try:
            reject_own_url(check_url(target["url"], allow_private=rules.allow_private), rules.public_url)
        except InvalidError as error:
            raise error.at("body.sink.url") from None
        return
    field = "servers" if "servers" in target else "server"
    servers = target.get("servers") or ([target["server"]] if "server" in target else [])
    for server in servers:
        try:
            check_url(f"https://{server}", allow_private=rules.allow_private)
        except InvalidError as error:
            raise InvalidError(
                f"{server} cannot be a sink. {error.detail}", code="sink_address_not_allowed"
            ).at(f"body.sink.{field}") from None
    if servers and not target["tls"] and not rules.allow_private:
        raise InvalidError(
            "Measurements and passwords are sent encrypted only. Set `tls` to true.", code="sink_without_tls"
        ).at("body.sink.tls")


def _check_certificate(text: str | None) -> None:
    if text is None:
        return
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=text)
    except (ssl.SSLError, TypeError, ValueError):
        raise InvalidError(
            "`ca_certificate` is not a certificate. Give it as PEM, with its `BEGIN CERTIFICATE` line, or "
            "leave it out for a public authority.",
            code="invalid_certificate",
        ).at("body.sink.ca_certificate") from None
