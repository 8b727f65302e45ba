"""What makes an installation insecure, as data: the stable codes, why each is dangerous, what mends it.

Owns the codes that `VIGIE_ALLOW_INSECURE` takes and that `docs/operations.md` lists. What settings have of
it, `insecure` finds.
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

type ProcessRoleName = Literal["api", "ingest", "deliver", "maintain", "migrate"]

_ROLES: Final[tuple[ProcessRoleName, ...]] = ("api", "ingest", "deliver", "maintain")
_DATABASE: Final[tuple[ProcessRoleName, ...]] = (*_ROLES, "migrate")
_SEALING: Final[tuple[ProcessRoleName, ...]] = ("api", "deliver", "maintain")
_PASSWORD: Final = "a password of chance (`vigie secrets generate`)"  # noqa: S105 (advice, no secret)
_LOGIN: Final = "the process's own login (`vigie_api`, `vigie_ingest` …), which `deploy/roles.sql` makes"
_KEY: Final = "a key of 32 bytes of chance (`vigie secrets generate`)"


@dataclass(frozen=True, slots=True)
class SecurityFindingType:
    """One thing that settings can have wrong.

    Attributes:
        variables: where it is set; a finding names the one at fault.
        danger: what may come of it.
        mend: what to set instead.
        roles: the commands that do not start with it.
    """

    variables: tuple[str, ...]
    danger: str
    mend: str
    roles: tuple[ProcessRoleName, ...]


SECURITY_FINDING_TYPES: Final[dict[SecurityFindingCode, SecurityFindingType]] = {
    "database_without_password": SecurityFindingType(
        ("VIGIE_DATABASE__URL",),
        "whoever reaches the database's port may be let in",
        f"{_PASSWORD} in the URL, in `PGPASSWORD` or in a password file; or use a socket",
        _DATABASE,
    ),
    "database_weak_password": SecurityFindingType(
        ("VIGIE_DATABASE__URL",),
        "the database's password is short or well-known: it is tried first",
        _PASSWORD,
        _DATABASE,
    ),
    "database_without_tls": SecurityFindingType(
        ("VIGIE_DATABASE__URL",),
        "all data go over the network in clear, or to whoever answers in the database's place",
        "`PGSSLMODE=verify-full` (at least `require`), which applies to each role",
        _DATABASE,
    ),
    "database_superuser": SecurityFindingType(
        ("VIGIE_DATABASE__URL",),
        "a superuser passes by the isolation of organisations in the database, and may run programs; an "
        "account with BYPASSRLS does the former",
        _LOGIN,
        _ROLES,
    ),
    "database_owner": SecurityFindingType(
        ("VIGIE_DATABASE__URL",),
        "the tables are this login's: who breaks into the process may switch off the isolation of "
        "organisations, and the audit log",
        _LOGIN,
        _ROLES,
    ),
    "broker_without_password": SecurityFindingType(
        ("VIGIE_BROKER__PASSWORD",),
        "a broker that lets the roles in without a password lets everybody publish for every box",
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
        "a client that connects under this well-known id takes over the session, and what is queued in it",
        "a name with some chance in it (`vigie secrets generate`); drain the session of the old name first",
        ("ingest",),
    ),
    "webhooks_private": SecurityFindingType(
        ("VIGIE_WEBHOOKS__ALLOW_PRIVATE",),
        "clients can have requests sent to this machine and its network, and in clear",
        "false",
        ("api", "deliver"),
    ),
    "encryption_without_key": SecurityFindingType(
        ("VIGIE_ENCRYPTION__KEYS_FILE",),
        "webhooks' secrets can be neither sealed nor opened; what is there in clear stays so",
        f"{_KEY}, in this file or in `VIGIE_ENCRYPTION__KEYS`",
        _SEALING,
    ),
    "encryption_weak_key": SecurityFindingType(
        ("VIGIE_ENCRYPTION__KEYS", "VIGIE_ENCRYPTION__KEYS_FILE"),
        "a key is a text or a pattern, which can be guessed",
        f"{_KEY}, before the one there is",
        _SEALING,
    ),
    "encryption_key_twice": SecurityFindingType(
        ("VIGIE_ENCRYPTION__KEYS", "VIGIE_ENCRYPTION__KEYS_FILE"),
        "the same key stands there twice: what should have replaced it does not",
        "each key once, the newest one first",
        _SEALING,
    ),
    "admin_key_weak": SecurityFindingType(
        ("VIGIE_BOOTSTRAP_ADMIN_KEY",),
        "the administrator's key may do everything, and is none that Vigie made: it may be guessed, and "
        "scanners of leaked keys do not know it",
        "a key that `vigie secrets generate` made",
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
        "`chmod 600` on the file, owned by the role's user",
        _DATABASE,
    ),
    "secret_twice": SecurityFindingType(
        (
            "VIGIE_DATABASE__URL",
            "VIGIE_BROKER__PASSWORD",
            "VIGIE_BOOTSTRAP_ADMIN_KEY",
            "VIGIE_SMTP__PASSWORD",
        ),
        "the same secret opens two things: who learns the one has the other",
        "a secret of its own for each",
        _ROLES,
    ),
}
"""By code; all codes are here."""

SECURITY_FINDING_CODES: Final[tuple[SecurityFindingCode, ...]] = get_args(SecurityFindingCode.__value__)
