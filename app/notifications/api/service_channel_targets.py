"""Validates and changes the target URLs and credentials of channels to HTTP services.

A secret is only sent to the URL for which it was given: if the URL changes, the client has to give it again.
"""

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from yarl import URL

from app.notifications.api.service_channel_schemas import HTTP_FIELDS, HttpChannelCreate
from app.notifications.delivery.models import Endpoint
from app.notifications.http.self_call_guard import reject_own_url
from app.notifications.http.service_channel_requests import HTTP_CHANNELS, seal_credentials
from app.notifications.http.ssrf_guard import CODE, check_url
from app.platform.kernel.errors import InvalidError
from app.platform.secrets.sealing import SecretSealer, require_encryption_key

_SECRETS: Final = ("routing_key", "token", "password")


class UrlRules(NamedTuple):
    """The rules for target URLs, and the sealer of their credentials.

    Attributes:
        allow_private: Whether http and private addresses are allowed.
        public_url: The API's own public URL, which is refused; empty if it is not configured.
        sealer: Encrypts credentials.
    """

    allow_private: bool
    public_url: str
    sealer: SecretSealer


class ChannelTarget(NamedTuple):
    """The columns `target` and `credentials` of a channel."""

    target: dict[str, Any]
    credentials: str | None


def set_channel_target(channel: Endpoint, body: HttpChannelCreate, rules: UrlRules) -> None:
    """Set the target and the credentials of a new channel.

    Raises:
        InvalidError: `webhook_url_not_allowed`; `missing_field` for a password without its account, or an
            account without its password.
        UnavailableError: `encryption_key_missing`.
    """
    given = {name: getattr(body, name) for name in HTTP_FIELDS[channel.kind] if name != "grouping"}
    channel.target, channel.credentials = _resolve_target(channel, {}, given, rules)


def resolve_changed_target(
    channel: Endpoint, fields: Mapping[str, Any], rules: UrlRules
) -> ChannelTarget | None:
    """Return a channel's target after a change; None if it does not change (errors as for a new one).

    Args:
        channel: The channel, locked.
        fields: The given fields of its kind.
        rules: The rules for URLs.
    """
    given = {name: value for name, value in fields.items() if name in HTTP_FIELDS[channel.kind]}
    given.pop("grouping", None)
    return _resolve_target(channel, channel.target or {}, given, rules) if given else None


def _resolve_target(
    channel: Endpoint, before: Mapping[str, Any], given: Mapping[str, Any], rules: UrlRules
) -> ChannelTarget:
    kind = HTTP_CHANNELS[channel.kind]
    if "url" in given:
        _check_address(channel.kind, given["url"], rules)
    secrets = {name: given[name] for name in ("url",) if kind.url_is_secret and name in given}
    secrets |= {name: given[name] for name in _SECRETS if name in given}
    shown = {name: value for name, value in given.items() if name not in secrets}
    if kind.url_is_secret and "url" in given:
        shown["host"] = str(URL(given["url"]).origin())
    target = {**before, **shown}
    if channel.kind == "alertmanager":
        _check_account(channel, target, given)
    moved = before.get("url") != target.get("url") or before.get("username") != target.get("username")
    if not secrets and moved and channel.credentials is not None:
        needed = next(name for name in HTTP_FIELDS[channel.kind] if name in _SECRETS)
        raise _missing(needed, f"the URL or the account changes: give `{needed}` again")
    if not secrets:
        return ChannelTarget(target, channel.credentials)
    sealed = {name: value for name, value in secrets.items() if value is not None}
    if sealed:
        require_encryption_key(rules.sealer)
    return ChannelTarget(target, seal_credentials(rules.sealer, channel.id, sealed))


def _check_address(kind: str, url: str, rules: UrlRules) -> None:
    try:
        reject_own_url(check_url(url, allow_private=rules.allow_private), rules.public_url)
    except InvalidError as error:
        raise error.at("body.url") from None
    if kind == "alertmanager" and "?" in url:
        reason = "Vigie appends Alertmanager's path to this URL: give it without a query (`?…`)"
        raise InvalidError(reason, code=CODE).at("body.url")


def _check_account(channel: Endpoint, target: Mapping[str, Any], given: Mapping[str, Any]) -> None:
    """Refuse an account without a password, and a password without an account."""
    password = given["password"] is not None if "password" in given else channel.credentials is not None
    if target.get("username") is not None and not password:
        raise _missing("password", "an account needs its password: give both, or neither")
    if target.get("username") is None and password and given.get("password") is not None:
        raise _missing("username", "a password needs its account: give both, or neither")


def _missing(field: str, why: str) -> InvalidError:
    return InvalidError(f"Something is missing: {why}.", code="missing_field").at(f"body.{field}")
