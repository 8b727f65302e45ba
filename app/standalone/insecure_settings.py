"""Finds insecure settings. Pure: everything besides the settings is an argument. Findings contain no secrets.

`app.platform.config.security_finding_catalogue` has the codes and texts. The caller decides whether a process
may start.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import parse_qs, unquote, urlsplit

from app.ingest.settings import IngestSettings
from app.platform.config.security_finding_catalogue import (
    SECURITY_FINDING_TYPES,
    ProcessRoleName,
    SecurityFindingCode,
)
from app.platform.kernel.ip_addresses import is_loopback
from app.platform.kernel.secret_tokens import API_KEY_PREFIX, is_well_formed_key
from app.settings import VigieSettings

_SHORT: Final = 8
_FEW: Final = 4
_FEW_OF_A_KEY: Final = 12
_OPEN: Final = 0o026  # others read or write, or a group writes
_ENCRYPTED: Final = frozenset({"require", "verify-ca", "verify-full"})
# Well-known passwords of eight or more characters; shorter ones are always weak.
_WELL_KNOWN: Final = frozenset(
    {
        "password",
        "passw0rd",
        "password1",
        "changeme",
        "change-me",
        "change_me",
        "changeit",
        "administrator",
        "postgres",
        "postgresql",
        "timescale",
        "timescaledb",
        "vigie123",
        "mosquitto",
        "12345678",
        "123456789",
        "1234567890",
        "87654321",
        "qwertyui",
        "qwertyuiop",
        "your-password",
        "yourpassword",
        "your_password",
        "example-password",
    }
)


@dataclass(frozen=True, slots=True)
class SecurityFinding:
    """One finding.

    Attributes:
        code: a stable key of SECURITY_FINDING_TYPES.
        variable: the setting or file at fault.
    """

    code: SecurityFindingCode
    variable: str

    def __str__(self) -> str:
        known = SECURITY_FINDING_TYPES[self.code]
        return f"{self.code}: {self.variable}: {known.danger}; set {known.fix}"


@dataclass(frozen=True, slots=True)
class LoginPrivileges:
    """The privileges of the database login, whatever role it takes afterwards.

    Attributes:
        name: its name.
        superuser: whether it bypasses all access rules: a superuser, or one with BYPASSRLS.
        owner: whether it owns the tables, or is a member of their owner.
        holds: the processes' roles that it may take (SET ROLE), its own among them.
    """

    name: str
    superuser: bool
    owner: bool
    holds: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class SettingsEnvironment:
    """The environment in which settings are evaluated.

    Attributes:
        login: the privileges of the database login; None if unknown.
        libpq: PostgreSQL's own variables (`PGSSLMODE`, `PGPASSWORD` …).
        passfile: whether a file of database passwords exists (`~/.pgpass`).
        modes: permission bits of the existing files with secrets, by the variable that names each.
    """

    libpq: Mapping[str, str] = field(default_factory=dict)
    passfile: bool = False
    modes: Mapping[str, int] = field(default_factory=dict)
    login: LoginPrivileges | None = None


@dataclass(frozen=True, slots=True)
class _Address:
    """The address of the database, as libpq would read the URL and its variables."""

    hosts: tuple[str, ...]
    user: str
    password: str
    sslmode: str
    certificate: bool

    @property
    def remote(self) -> bool:
        return any(not is_local_host(host) for host in self.hosts)

    @property
    def sockets(self) -> bool:
        """Whether it is reached by Unix sockets only, where the kernel identifies the user."""
        return all(host.startswith("/") for host in self.hosts)


def is_local_host(host: str) -> bool:
    """Return whether a host is this machine: a loopback address, `localhost`, a Unix socket."""
    return host.startswith("/") or host.endswith(".localhost") or is_loopback(host)


def _host(text: str) -> str:
    """Return the host of `host:port`."""
    text = unquote(text)
    if text.startswith("["):
        return text[1:].partition("]")[0]
    return text if text.startswith("/") else text.partition(":")[0]


def _address(settings: VigieSettings, environment: SettingsEnvironment) -> _Address:
    parts = urlsplit(settings.database.url)
    account, _, places = parts.netloc.rpartition("@")
    user, _, password = account.partition(":")
    query = {name: values[-1] for name, values in parse_qs(parts.query).items()}

    def first(text: str, name: str, variable: str) -> str:
        return unquote(text) or query.get(name, "") or environment.libpq.get(variable, "")

    hosts = places or first("", "host", "PGHOST")
    return _Address(
        hosts=tuple(_host(each) for each in hosts.split(",") if each) or ("/",),
        user=first(user, "user", "PGUSER"),
        password=first(password, "password", "PGPASSWORD"),
        sslmode=first("", "sslmode", "PGSSLMODE"),
        certificate=bool(first("", "sslcert", "PGSSLCERT")),
    )


def is_weak_password(password: str, *names: str) -> bool:
    """Return whether a password is easily guessed; `names` are those of the account."""
    plain = password.casefold()
    return (
        len(password) < _SHORT
        or len(set(plain)) < _FEW
        or plain in _WELL_KNOWN
        or plain in {name.casefold() for name in names}
    )


def _database_without_password(settings: VigieSettings, environment: SettingsEnvironment) -> bool:
    address = _address(settings, environment)
    return not (address.password or address.sockets or address.certificate or environment.passfile)


def _database_weak_password(settings: VigieSettings, environment: SettingsEnvironment) -> bool:
    address = _address(settings, environment)
    return bool(address.password) and is_weak_password(address.password, address.user)


def _database_without_tls(settings: VigieSettings, environment: SettingsEnvironment) -> bool:
    address = _address(settings, environment)
    return address.remote and address.sslmode not in _ENCRYPTED


def _database_superuser(settings: VigieSettings, environment: SettingsEnvironment) -> bool:
    known = environment.login is not None and environment.login.superuser
    return known or _address(settings, environment).user == "postgres"


def _database_owner(_: VigieSettings, environment: SettingsEnvironment) -> bool:
    return environment.login is not None and environment.login.owner


def _broker_without_password(settings: VigieSettings, _: SettingsEnvironment) -> bool:
    broker = settings.broker
    return not broker.password.get_secret_value() and broker.tls.certificate_file is None


def _broker_weak_password(settings: VigieSettings, _: SettingsEnvironment) -> bool:
    password = settings.broker.password.get_secret_value()
    return bool(password) and is_weak_password(password, settings.broker.username)


def _broker_without_tls(settings: VigieSettings, _: SettingsEnvironment) -> bool:
    return not is_local_host(settings.broker.host) and not settings.broker.tls.enabled


def _session_guessable(settings: VigieSettings, _: SettingsEnvironment) -> bool:
    return bool(settings.ingest.client_id == IngestSettings.model_fields["client_id"].default)


def _webhooks_private(settings: VigieSettings, _: SettingsEnvironment) -> bool:
    return settings.webhooks.allow_private


def _keys(settings: VigieSettings) -> tuple[str, list[bytes]]:
    """Return the variable of the keys, and the keys; none if their file is missing (reported elsewhere)."""
    encryption = settings.encryption
    variable = "VIGIE_ENCRYPTION__KEYS" if encryption.keys else "VIGIE_ENCRYPTION__KEYS_FILE"
    try:
        return variable, encryption.key_bytes()
    except ValueError:
        return variable, []


def _encryption_without_key(settings: VigieSettings, _: SettingsEnvironment) -> bool:
    return not _keys(settings)[1]


def _encryption_weak_key(settings: VigieSettings, _: SettingsEnvironment) -> str | None:
    variable, keys = _keys(settings)
    # 32 random bytes have about 30 different values, of which about 20 are not letters.
    weak = any(
        len(set(key)) < _FEW_OF_A_KEY or (key.isascii() and key.decode().isprintable()) for key in keys
    )
    return variable if weak else None


def _encryption_key_twice(settings: VigieSettings, _: SettingsEnvironment) -> str | None:
    variable, keys = _keys(settings)
    return variable if len(set(keys)) < len(keys) else None


def _admin_key_weak(settings: VigieSettings, _: SettingsEnvironment) -> bool:
    if settings.bootstrap_admin_key is None:
        return False
    key = settings.bootstrap_admin_key.get_secret_value()
    return not is_well_formed_key(key) or len(set(key.removeprefix(API_KEY_PREFIX))) < _FEW_OF_A_KEY


def _api_without_tls(settings: VigieSettings, _: SettingsEnvironment) -> str | None:
    scheme, *rest = settings.api.public_url.split("://", 1)
    if scheme == "http" and not is_local_host(_host(rest[0].partition("/")[0])):
        return "VIGIE_API__PUBLIC_URL"
    return "VIGIE_API__HOST" if scheme != "https" and not is_local_host(settings.api.host) else None


def _smtp_without_tls(settings: VigieSettings, _: SettingsEnvironment) -> bool:
    smtp = settings.smtp
    return smtp.host is not None and smtp.security == "none" and not is_local_host(smtp.host)


def _enrolment_open(settings: VigieSettings, _: SettingsEnvironment) -> bool:
    enrolment = settings.enrolment
    return enrolment.enabled and enrolment.attempts > enrolment.attempts_window_s


def _file_open(_: VigieSettings, environment: SettingsEnvironment) -> str | None:
    return next((variable for variable, mode in environment.modes.items() if mode & _OPEN), None)


def _secret_twice(settings: VigieSettings, environment: SettingsEnvironment) -> str | None:
    admin = settings.bootstrap_admin_key
    held = {
        "VIGIE_DATABASE__URL": _address(settings, environment).password,
        "VIGIE_BROKER__PASSWORD": settings.broker.password.get_secret_value(),
        "VIGIE_BOOTSTRAP_ADMIN_KEY": admin.get_secret_value() if admin else "",
        "VIGIE_SMTP__PASSWORD": settings.smtp.password.get_secret_value(),
    }
    times = Counter(held.values())
    found = [variable for variable, secret in held.items() if secret and times[secret] > 1]
    return found[-1] if found else None


_CHECKS: Final[
    dict[SecurityFindingCode, Callable[[VigieSettings, SettingsEnvironment], bool | str | None]]
] = {
    "database_without_password": _database_without_password,
    "database_weak_password": _database_weak_password,
    "database_without_tls": _database_without_tls,
    "database_superuser": _database_superuser,
    "database_owner": _database_owner,
    "broker_without_password": _broker_without_password,
    "broker_weak_password": _broker_weak_password,
    "broker_without_tls": _broker_without_tls,
    "session_guessable": _session_guessable,
    "webhooks_private": _webhooks_private,
    "encryption_without_key": _encryption_without_key,
    "encryption_weak_key": _encryption_weak_key,
    "encryption_key_twice": _encryption_key_twice,
    "admin_key_weak": _admin_key_weak,
    "api_without_tls": _api_without_tls,
    "smtp_without_tls": _smtp_without_tls,
    "enrolment_open": _enrolment_open,
    "file_open": _file_open,
    "secret_twice": _secret_twice,
}
"""Each check returns whether the finding applies, or the variable at fault if there are several."""


def find_insecure_settings(
    settings: VigieSettings, role: ProcessRoleName, environment: SettingsEnvironment
) -> Iterator[SecurityFinding]:
    """Find what is insecure for one process, in the order of SECURITY_FINDING_TYPES.

    Args:
        settings: The settings of the process.
        role: The process; findings that do not concern it are left out.
        environment: The environment of the settings.
    """
    for code, known in SECURITY_FINDING_TYPES.items():
        found = _CHECKS[code](settings, environment) if role in known.roles else None
        if found:
            yield SecurityFinding(code, found if isinstance(found, str) else known.variables[0])
