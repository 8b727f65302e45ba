import json
import sys
from pathlib import Path

import pytest

from app.standalone.process_commands import (
    ROLES,
    ServiceConnections,
    build_command,
    build_process_environment,
    build_stack_environment,
    count_api_workers,
)

SERVICES = ServiceConnections(
    logins={"api": "postgresql://vigie_api:own@127.0.0.1:5432/vigie"},
    database="postgresql://vigie:pw@127.0.0.1:2/vigie",
    broker_port=3,
    ingest_password="ingest-pw",
    ingest_client_id="vigie-ingest-chance",
    password_file=Path("/d/passwords"),
    static_password_file=Path("/d/passwords.static"),
    pid_file=Path("/d/mosquitto.pid"),
)


def make(
    services: ServiceConnections | None,
    base: dict[str, str],
    roles: tuple[str, ...] = ("api",),
) -> dict[str, str]:
    return build_stack_environment(
        marker="id@/d",
        metrics=Path("/d/metrics"),
        host="127.0.0.1",
        port=8001,
        admin_key="vg_key",
        keys_file=Path("/d/encryption-keys"),
        roles=roles,
        services=services,
        base=base,
    )


def test_private_services_replace_what_the_environment_names() -> None:
    made = make(SERVICES, {"VIGIE_DATABASE__URL": "postgresql://elsewhere", "HOME": "/home/x"})
    assert made["VIGIE_DATABASE__URL"] == SERVICES.database
    assert made["VIGIE_BROKER__PORT"] == "3"
    assert made["VIGIE_BROKER__PASSWORD"] == "ingest-pw"
    assert made["VIGIE_BROKER__PID_FILE"] == "/d/mosquitto.pid"
    assert made["VIGIE_BROKER__TLS__ENABLED"] == "false"
    assert made["HOME"] == "/home/x"


def test_without_private_services_database_and_broker_are_the_settings_own() -> None:
    made = make(None, {"VIGIE_DATABASE__URL": "postgresql://elsewhere"})
    assert made["VIGIE_DATABASE__URL"] == "postgresql://elsewhere"
    assert not any(name.startswith("VIGIE_BROKER__") for name in made)


def test_the_supervisor_decides_on_addresses_and_key() -> None:
    made = make(None, {"VIGIE_API__PORT": "1", "VIGIE_BOOTSTRAP_ADMIN_KEY": "x", "VIGIE_STACK": "other"})
    assert (made["VIGIE_API__PORT"], made["VIGIE_BOOTSTRAP_ADMIN_KEY"]) == ("8001", "vg_key")
    assert made["VIGIE_STACK"] == "id@/d"
    assert made["PROMETHEUS_MULTIPROC_DIR"] == "/d/metrics"


def test_an_operators_word_on_private_webhooks_is_kept() -> None:
    assert make(None, {})["VIGIE_WEBHOOKS__ALLOW_PRIVATE"] == "true"
    assert make(None, {"VIGIE_WEBHOOKS__ALLOW_PRIVATE": "false"})["VIGIE_WEBHOOKS__ALLOW_PRIVATE"] == "false"


def test_the_supervisors_encryption_keys_win() -> None:
    base = {"VIGIE_ENCRYPTION__KEYS": '["OWN"]', "VIGIE_ENCRYPTION__KEYS_FILE": "/keys"}
    for given in (base, {}):
        made = make(None, given)
        assert json.loads(made["VIGIE_ENCRYPTION__KEYS"]) == []
        assert made["VIGIE_ENCRYPTION__KEYS_FILE"] == "/d/encryption-keys"


def test_the_consumers_session_has_its_own_name() -> None:
    assert make(SERVICES, {})["VIGIE_INGEST__CLIENT_ID"] == "vigie-ingest-chance"
    assert make(SERVICES, {"VIGIE_INGEST__CLIENT_ID": "mine"})["VIGIE_INGEST__CLIENT_ID"] == "mine"
    assert "VIGIE_INGEST__CLIENT_ID" not in make(None, {})


def test_readiness_waits_for_the_roles_that_run_and_no_other() -> None:
    made = make(None, {}, roles=("api", "ingest"))
    assert json.loads(made["VIGIE_API__READY_REQUIRES"]) == ["database", "migrations", "ingest"]


def test_a_role_is_run_by_this_python_and_dies_with_its_parent() -> None:
    words = build_command("simulate", "demo")
    assert words[-6:] == [sys.executable, "-P", "-m", "app", "simulate", "demo"]
    assert "--pdeathsig=KILL" in words


def test_secrets_are_given_to_those_alone_that_use_them() -> None:
    base = {
        "VIGIE_ENCRYPTION__KEYS_FILE": "/keys",
        "VIGIE_SMTP__PASSWORD": "mail-pw",
        "vigie_encryption__keys": "x",
        "HOME": "/home/x",
    }
    every = make(SERVICES, base)
    held = {
        role: {name for name in every if name in build_process_environment(role, every)}
        for role in (*ROLES, "migrate", "demo")
    }
    key = {"VIGIE_BOOTSTRAP_ADMIN_KEY"}
    sealing = {"VIGIE_ENCRYPTION__KEYS", "VIGIE_ENCRYPTION__KEYS_FILE", "vigie_encryption__keys"}
    mail = {"VIGIE_SMTP__PASSWORD"}
    assert {role: set(every) - names for role, names in held.items()} == {
        "api": mail,
        "ingest": key | sealing | mail,
        "deliver": key,
        "maintain": key | mail,
        "migrate": key | sealing | mail,
        "demo": key | sealing | mail,
    }
    assert build_process_environment("demo", every)["HOME"] == "/home/x"


@pytest.mark.parametrize(("cores", "workers"), [(1, 1), (2, 1), (4, 2), (7, 3), (64, 8)])
def test_the_database_keeps_half_of_the_cores(cores: int, workers: int) -> None:
    assert count_api_workers(cores) == workers


def test_the_environment_may_say_how_many_workers_serve() -> None:
    assert make(None, {"VIGIE_API__WORKERS": "5"})["VIGIE_API__WORKERS"] == "5"
    assert int(make(None, {})["VIGIE_API__WORKERS"]) >= 1
