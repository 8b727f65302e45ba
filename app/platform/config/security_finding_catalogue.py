"""Defines the kinds of insecure settings: a stable code, the danger and the remedy of each.

`VIGIE_ALLOW_INSECURE` accepts these codes, and `docs/operations/insecure-settings.md` lists them.
`app.standalone.insecure_settings` detects them.
"""

from dataclasses import dataclass
from typing import Final, Literal, get_args

type SecurityFindingCode = Literal[
    "database_without_password",
    "database_weak_password",
    "database_without_tls",
    "database_superuser",
    "database_owner",
    "broker_without_password",
    "broker_weak_password",
    "broker_without_tls",
    "session_guessable",
    "webhooks_private",
    "encryption_without_key",
    "encryption_weak_key",
    "encryption_key_twice",
    "admin_key_weak",
    "api_without_tls",
    "smtp_without_tls",
    "enrolment_open",
    "file_open",
    "secret_twice",
]

type ProcessRoleName = Literal["api", "edge", "ingest", "deliver", "maintain", "migrate"]

_ROLES: Final[tuple[ProcessRoleName, ...]] = ("api", "edge", "ingest", "deliver", "maintain")
_DATABASE: Final[tuple[ProcessRoleName, ...]] = (*_ROLES, "migrate")
_SEALING: Final[tuple[ProcessRoleName, ...]] = ("api", "deliver", "maintain")
_PASSWORD: Final = "a random password (`vigie secrets generate`)"  # noqa: S105 (advice, no secret)
_LOGIN: Final = "the process's own login (`vigie_api`, `vigie_ingest` …), which `deploy/roles.sql` makes"
_KEY: Final = "a key of 32 random bytes (`vigie secrets generate`)"


@dataclass(frozen=True, slots=True)
class SecurityFindingType:
    """A kind of finding.

    Attributes:
        variables: where it is set; a finding names the one at fault.
        danger: the possible consequence.
        fix: what to set instead.
        roles: the processes that refuse to start with it.
    """

    variables: tuple[str, ...]
    danger: str
    fix: str
    roles: tuple[ProcessRoleName, ...]


SECURITY_FINDING_TYPES: Final[dict[SecurityFindingCode, SecurityFindingType]] = {
    "database_without_password": SecurityFindingType(
        ("VIGIE_DATABASE__URL",),
        "anyone who reaches the database's port may log in",
        f"{_PASSWORD} in the URL, in `PGPASSWORD` or in a password file; or use a socket",
        _DATABASE,
    ),
    "database_weak_password": SecurityFindingType(
        ("VIGIE_DATABASE__URL",),
        "the database's password is short or well-known: attackers try it first",
        _PASSWORD,
        _DATABASE,
    ),
    "database_without_tls": SecurityFindingType(
        ("VIGIE_DATABASE__URL",),
        "all data go over the network in clear, or to an impostor of the database",
        "`PGSSLMODE=verify-full` (at least `require`), for each process",
        _DATABASE,
    ),
    "database_superuser": SecurityFindingType(
        ("VIGIE_DATABASE__URL",),
        "a superuser bypasses the isolation of organisations in the database, and may run programs; an "
        "account with BYPASSRLS bypasses the isolation",
        _LOGIN,
        _ROLES,
    ),
    "database_owner": SecurityFindingType(
        ("VIGIE_DATABASE__URL",),
        "this login owns the tables: an attacker in the process may switch off the isolation of "
        "organisations, and the audit log",
        _LOGIN,
        _ROLES,
    ),
    "broker_without_password": SecurityFindingType(
        ("VIGIE_BROKER__PASSWORD",),
        "a broker that accepts processes without a password lets anyone publish for every box",
        f"{_PASSWORD}, and `allow_anonymous false` at the broker; or a client certificate",
        _ROLES,
    ),
    "broker_weak_password": SecurityFindingType(
        ("VIGIE_BROKER__PASSWORD",),
        "the password of the account that reads every box is short or well-known",
        _PASSWORD,
        _ROLES,
    ),
    "broker_without_tls": SecurityFindingType(
        ("VIGIE_BROKER__TLS__ENABLED",),
        "the broker's password and all samples go over the network in clear",
        "true, with `VIGIE_BROKER__TLS__CA_FILE` where the certificate is of your own authority",
        _ROLES,
    ),
    "session_guessable": SecurityFindingType(
        ("VIGIE_INGEST__CLIENT_ID",),
        "a client that connects under this well-known id takes over the session and its queue",
        "a name with a random part (`vigie secrets generate`); drain the session of the old name first",
        ("edge", "ingest"),
    ),
    "webhooks_private": SecurityFindingType(
        ("VIGIE_WEBHOOKS__ALLOW_PRIVATE",),
        "clients can have requests sent to this machine and its network, and in clear",
        "false",
        ("api", "deliver"),
    ),
    "encryption_without_key": SecurityFindingType(
        ("VIGIE_ENCRYPTION__KEYS_FILE",),
        "webhooks' secrets can be neither encrypted nor decrypted; those stored in clear stay so",
        f"{_KEY}, in this file or in `VIGIE_ENCRYPTION__KEYS`",
        _SEALING,
    ),
    "encryption_weak_key": SecurityFindingType(
        ("VIGIE_ENCRYPTION__KEYS", "VIGIE_ENCRYPTION__KEYS_FILE"),
        "a key is a text or a pattern, which can be guessed",
        f"{_KEY}, before the current one",
        _SEALING,
    ),
    "encryption_key_twice": SecurityFindingType(
        ("VIGIE_ENCRYPTION__KEYS", "VIGIE_ENCRYPTION__KEYS_FILE"),
        "the same key is listed twice: it was not replaced",
        "each key once, the newest one first",
        _SEALING,
    ),
    "admin_key_weak": SecurityFindingType(
        ("VIGIE_BOOTSTRAP_ADMIN_KEY",),
        "the administrator's key may do everything, and Vigie did not generate it: it may be guessed, and "
        "scanners of leaked keys do not recognise it",
        "a key from `vigie secrets generate`",
        ("api",),
    ),
    "api_without_tls": SecurityFindingType(
        ("VIGIE_API__HOST", "VIGIE_API__PUBLIC_URL"),
        "API keys go over the network in clear",
        "`VIGIE_API__HOST=127.0.0.1` behind a proxy that speaks TLS, and its `https://…` in "
        "`VIGIE_API__PUBLIC_URL`",
        ("api",),
    ),
    "smtp_without_tls": SecurityFindingType(
        ("VIGIE_SMTP__SECURITY",),
        "mails, and the mail server's password, go over the network in clear",
        "`starttls` or `tls`",
        ("deliver",),
    ),
    "enrolment_open": SecurityFindingType(
        ("VIGIE_ENROLMENT__ATTEMPTS",),
        "one address may try more than one claim code a second",
        "20 attempts in a window of 600 seconds (the defaults), or so",
        ("api",),
    ),
    "file_open": SecurityFindingType(
        ("VIGIE_ENCRYPTION__KEYS_FILE", "VIGIE_BROKER__TLS__KEY_FILE", ".env"),
        "every account of this machine can read the secrets in it, or a group can change them",
        "`chmod 600` on the file, owned by the process's user",
        _DATABASE,
    ),
    "secret_twice": SecurityFindingType(
        (
            "VIGIE_DATABASE__URL",
            "VIGIE_BROKER__PASSWORD",
            "VIGIE_BOOTSTRAP_ADMIN_KEY",
            "VIGIE_SMTP__PASSWORD",
        ),
        "the same secret is used twice: who learns one of them has both",
        "a separate secret for each",
        _ROLES,
    ),
}
"""All findings, by code."""

SECURITY_FINDING_CODES: Final[tuple[SecurityFindingCode, ...]] = get_args(SecurityFindingCode.__value__)
