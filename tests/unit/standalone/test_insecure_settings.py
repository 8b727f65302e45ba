"""What makes an installation insecure, setting by setting."""

import base64
from pathlib import Path
from typing import Any

import pytest

from app.platform.config.security_finding_catalogue import (
    SECURITY_FINDING_CODES,
    SECURITY_FINDING_TYPES,
    ProcessRoleName,
)
from app.platform.kernel.secret_tokens import _checksum, generate_key, is_well_formed_key
from app.platform.secrets.sealing import generate_encryption_key
from app.settings import VigieSettings
from app.standalone.insecure_settings import (
    LoginPrivileges,
    SettingsEnvironment,
    find_insecure_settings,
    is_local_host,
)

ROLES: tuple[ProcessRoleName, ...] = ("api", "ingest", "deliver", "maintain", "migrate")
KEY, OTHER = generate_encryption_key(), generate_encryption_key()
SAFE: dict[str, Any] = {
    "database": {"url": "postgresql://vigie:Rk2-aVw81nq@127.0.0.1/vigie"},
    "broker": {"password": "Qd7_zzP01mmv"},
    "ingest": {"client_id": "vigie-ingest-4f1c"},
    "encryption": {"keys": [KEY]},
    "bootstrap_admin_key": generate_key(),
}
NONE = SettingsEnvironment()
REMOTE = "postgresql://vigie:Rk2-aVw81nq@db.example.com/vigie"
PASSPHRASE = base64.b64encode(b"correct horse battery staple !!!").decode()
POOR = "vg_" + "0" * 32 + _checksum("0" * 32)
ZEROS = base64.b64encode(bytes(32)).decode()

type Changes = dict[str, Any]


def found(
    role: ProcessRoleName, changes: Changes, around: SettingsEnvironment = NONE
) -> list[tuple[str, str]]:
    body = {**SAFE, **changes}
    for name, value in changes.items():
        if isinstance(value, dict):
            body[name] = {**SAFE.get(name, {}), **value}
    settings = VigieSettings.model_validate(body)
    return [(each.code, each.variable) for each in find_insecure_settings(settings, role, around)]


def url(text: str) -> Changes:
    return {"database": {"url": text}}


CASES: tuple[tuple[str, ProcessRoleName, Changes, SettingsEnvironment, str], ...] = (
    (
        "database_without_password",
        "migrate",
        url("postgresql://vigie@127.0.0.1/vigie"),
        NONE,
        "DATABASE__URL",
    ),
    ("database_weak_password", "ingest", url("postgresql://vigie:vigie@127.0.0.1/v"), NONE, "DATABASE__URL"),
    ("database_weak_password", "api", url("postgresql://a:changeMe@127.0.0.1/v"), NONE, "DATABASE__URL"),
    ("database_weak_password", "api", url("postgresql://a:aaaabbbb@127.0.0.1/v"), NONE, "DATABASE__URL"),
    ("database_weak_password", "api", url("postgresql://operator:oper%61tor@[::1]/v"), NONE, "DATABASE__URL"),
    ("database_without_tls", "migrate", url(REMOTE), NONE, "DATABASE__URL"),
    ("database_without_tls", "deliver", url(f"{REMOTE}?sslmode=prefer"), NONE, "DATABASE__URL"),
    (
        "database_without_tls",
        "api",
        url("postgresql://a:Rk2-aVw81nq@127.0.0.1:1,10.0.0.7:2/v"),
        NONE,
        "DATABASE__URL",
    ),
    (
        "database_without_tls",
        "api",
        url("postgresql://a:Rk2-aVw81nq@/v"),
        SettingsEnvironment({"PGHOST": "10.0.0.7"}),
        "DATABASE__URL",
    ),
    (
        "database_superuser",
        "api",
        url("postgresql://postgres:Rk2-aVw81nq@127.0.0.1/vigie"),
        NONE,
        "DATABASE__URL",
    ),
    ("broker_without_password", "deliver", {"broker": {"password": ""}}, NONE, "BROKER__PASSWORD"),
    ("broker_weak_password", "maintain", {"broker": {"password": "ingest"}}, NONE, "BROKER__PASSWORD"),
    ("broker_without_tls", "ingest", {"broker": {"host": "10.0.0.8"}}, NONE, "BROKER__TLS__ENABLED"),
    ("session_guessable", "ingest", {"ingest": {"client_id": "vigie-ingest"}}, NONE, "INGEST__CLIENT_ID"),
    ("webhooks_private", "api", {"webhooks": {"allow_private": True}}, NONE, "WEBHOOKS__ALLOW_PRIVATE"),
    ("webhooks_private", "deliver", {"webhooks": {"allow_private": True}}, NONE, "WEBHOOKS__ALLOW_PRIVATE"),
    ("encryption_without_key", "maintain", {"encryption": {"keys": []}}, NONE, "ENCRYPTION__KEYS_FILE"),
    ("encryption_weak_key", "api", {"encryption": {"keys": [KEY, PASSPHRASE]}}, NONE, "ENCRYPTION__KEYS"),
    ("encryption_weak_key", "api", {"encryption": {"keys": [ZEROS]}}, NONE, "ENCRYPTION__KEYS"),
    ("encryption_key_twice", "api", {"encryption": {"keys": [KEY, OTHER, KEY]}}, NONE, "ENCRYPTION__KEYS"),
    ("admin_key_weak", "api", {"bootstrap_admin_key": "at-least-16-chars"}, NONE, "BOOTSTRAP_ADMIN_KEY"),
    ("admin_key_weak", "api", {"bootstrap_admin_key": POOR}, NONE, "BOOTSTRAP_ADMIN_KEY"),
    ("api_without_tls", "api", {"api": {"host": "10.0.0.5"}}, NONE, "API__HOST"),
    (
        "api_without_tls",
        "api",
        {"api": {"host": "::", "public_url": "http://localhost:8000"}},
        NONE,
        "API__HOST",
    ),
    (
        "api_without_tls",
        "api",
        {"api": {"public_url": "http://vigie.example.com:80/x"}},
        NONE,
        "API__PUBLIC_URL",
    ),
    (
        "smtp_without_tls",
        "deliver",
        {"smtp": {"host": "mail.example.com", "security": "none"}},
        NONE,
        "SMTP__SECURITY",
    ),
    (
        "enrolment_open",
        "api",
        {"enrolment": {"enabled": True, "attempts": 601, "attempts_window_s": 600}},
        NONE,
        "ENROLMENT__ATTEMPTS",
    ),
    (
        "database_superuser",
        "api",
        {},
        SettingsEnvironment(login=LoginPrivileges("root", True, False)),
        "DATABASE__URL",
    ),
    (
        "database_owner",
        "deliver",
        {},
        SettingsEnvironment(login=LoginPrivileges("vigie", False, True)),
        "DATABASE__URL",
    ),
    ("file_open", "ingest", {}, SettingsEnvironment(modes={"VIGIE_X": 0o600, "VIGIE_Y": 0o604}), "Y"),
    ("file_open", "migrate", {}, SettingsEnvironment(modes={"VIGIE_X": 0o660}), "X"),
    ("secret_twice", "api", {"broker": {"password": "Rk2-aVw81nq"}}, NONE, "BROKER__PASSWORD"),
)


@pytest.mark.parametrize("role", ROLES)
def test_nothing_is_said_of_what_is_safe(role: ProcessRoleName) -> None:
    assert found(role, {}) == []


@pytest.mark.parametrize(
    ("code", "role", "changes", "around", "variable"),
    CASES,
    ids=[f"{number}-{case[0]}" for number, case in enumerate(CASES)],
)
def test_what_is_insecure_is_named_with_its_variable(
    code: str, role: ProcessRoleName, changes: Changes, around: SettingsEnvironment, variable: str
) -> None:
    assert found(role, changes, around) == [(code, f"VIGIE_{variable}")]
    others: list[ProcessRoleName] = [role for role in ROLES if role not in SECURITY_FINDING_TYPES[code].roles]  # type: ignore[index]  # of CASES
    assert all(found(other, changes, around) == [] for other in others)


def test_every_code_has_a_case() -> None:
    assert is_well_formed_key(POOR)
    assert {case[0] for case in CASES} == set(SECURITY_FINDING_CODES) == set(SECURITY_FINDING_TYPES)


@pytest.mark.parametrize(
    ("changes", "around"),
    [
        (url("postgresql:///vigie?host=/run/postgresql"), NONE),
        (url("postgresql://vigie@%2Frun%2Fpostgresql/vigie"), NONE),
        (url("postgresql://vigie@127.0.0.1/vigie"), SettingsEnvironment({"PGPASSWORD": "Rk2-aVw81nq"})),
        (url("postgresql://vigie@127.0.0.1/vigie"), SettingsEnvironment(passfile=True)),
        (url(REMOTE), SettingsEnvironment({"PGSSLMODE": "verify-full"})),
        (
            {},
            SettingsEnvironment(
                login=LoginPrivileges("vigie_api", False, False, ("vigie_api", "vigie_ingest"))
            ),
        ),
        (url(f"{REMOTE}?sslmode=require"), SettingsEnvironment({"PGSSLMODE": "disable"})),
        (url("postgresql://vigie@db/v?sslmode=verify-full&sslcert=/c.pem"), NONE),
        ({"broker": {"host": "mq.example.com", "tls": {"enabled": True}}}, NONE),
        ({"broker": {"password": "", "tls": {"enabled": True, "certificate_file": "/c.pem"}}}, NONE),
        ({"api": {"host": "10.0.0.5", "public_url": "https://vigie.example.com"}}, NONE),
        ({"api": {"public_url": "http://[::1]:8000"}}, NONE),
        ({"smtp": {"host": "localhost", "security": "none"}}, NONE),
        ({"smtp": {"host": "mail.example.com"}}, NONE),
        ({"enrolment": {"enabled": True}}, NONE),
        ({"enrolment": {"attempts": 5000}}, NONE),
        ({"bootstrap_admin_key": ""}, NONE),
    ],
    ids=str,
)
def test_what_looks_like_it_and_is_safe_is_let_be(changes: Changes, around: SettingsEnvironment) -> None:
    assert [case for role in ROLES for case in found(role, changes, around)] == []


def test_findings_say_what_mends_them_and_show_no_secret() -> None:
    weak = {"database": {"url": "postgresql://a:changeme@db/v"}, "bootstrap_admin_key": "sixteen-letters!"}
    settings = VigieSettings.model_validate({**SAFE, **weak})
    texts = [str(each) for each in find_insecure_settings(settings, "api", NONE)]
    assert len(texts) == 3
    assert "; set a random password (`vigie secrets generate`)" in texts[0]
    assert not any(secret in text for text in texts for secret in ("changeme", "sixteen-letters!"))


def test_a_keys_file_that_is_gone_is_as_no_key(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text(f"{KEY}\n{KEY}\n")
    settings = VigieSettings.model_validate({**SAFE, "encryption": {"keys_file": file}})
    assert [str(each.variable) for each in find_insecure_settings(settings, "api", NONE)] == [
        "VIGIE_ENCRYPTION__KEYS_FILE"
    ]
    file.unlink()
    assert [each.code for each in find_insecure_settings(settings, "api", NONE)] == ["encryption_without_key"]


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "localhost", "db.localhost", "/run/x"])
def test_this_machine_is_local(host: str) -> None:
    assert is_local_host(host)


@pytest.mark.parametrize("host", ["", "::", "10.0.0.1", "localhost.example.com", "db"])
def test_others_are_not(host: str) -> None:
    assert not is_local_host(host)
