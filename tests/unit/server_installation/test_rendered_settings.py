"""The settings of a server's processes, read back as the processes read them."""

import os
import shlex
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from app.platform.config.misspelt_setting_names import find_misspelt_settings, list_setting_names
from app.platform.secrets.sealing import generate_encryption_key
from app.server_installation.rendered_settings import render_gateway_account, render_settings
from app.server_installation.server_environment import (
    check_process_settings,
    read_process_environment,
    replaced_environment,
)
from app.server_installation.server_options import ServerOptions
from app.server_installation.server_paths import ROLES, ServerPaths
from app.server_installation.server_secrets import load_or_generate_secrets, read_env_file
from app.settings import VigieSettings, read_settings

PUBLIC = ServerOptions(name="vigie.example.com", workers=3)
ONE_OF_THREE = ServerOptions(
    name="vigie.example.com",
    edge="machine2",
    edge_host="10.0.0.2",
    log_servers="10.0.0.1:4222,10.0.0.2:4222",
    database_hosts="10.0.0.1:5432,10.0.0.2:5432",
    load_balancer="10.0.0.250",
)


def install(root: Path, options: ServerOptions) -> ServerPaths:
    """Write the settings as the installation does."""
    paths = ServerPaths(root)
    paths.settings.mkdir(parents=True, exist_ok=True)
    secrets = load_or_generate_secrets(paths)
    for name, text in render_settings(options, secrets, paths, database_port=5433).items():
        paths.env_file(name).write_text(text)
    paths.gateway_file.write_text(render_gateway_account(secrets))
    if not paths.keys_file.exists():
        paths.keys_file.write_text(f"{generate_encryption_key()}\n")
        paths.keys_file.chmod(0o600)
    return paths


@pytest.mark.parametrize("options", [ServerOptions(), PUBLIC])
def test_all_settings_are_known_valid_and_secure(tmp_path: Path, options: ServerOptions) -> None:
    paths = install(tmp_path, options)
    assert [str(each) for each in check_process_settings(paths, options.roles)] == [
        "ok       settings: of all processes are valid, and none is insecure"
    ]
    for name in ("vigie", "migrate", *ROLES):
        variables = dict.fromkeys(read_env_file(paths.env_file(name)), "environment")
        assert not find_misspelt_settings(variables, list_setting_names(VigieSettings))  # type: ignore[arg-type]


def test_secrets_stay_and_everything_else_follows_the_options(tmp_path: Path) -> None:
    paths = install(tmp_path, ServerOptions())
    before = {name: read_env_file(paths.env_file(name)) for name in ("vigie", "migrate", *ROLES)}
    gateway = paths.gateway_file.read_text()
    install(tmp_path, PUBLIC)
    after = {name: read_env_file(paths.env_file(name)) for name in ("vigie", "migrate", *ROLES)}
    assert after["ingest"] == before["ingest"]
    assert after["migrate"] == before["migrate"]
    assert paths.gateway_file.read_text() == gateway
    changed = {name for name in after["api"] if after["api"][name] != before["api"].get(name)}
    assert changed == {"VIGIE_API__WORKERS", "VIGIE_API__TRUSTED_PROXIES"}
    assert after["vigie"]["VIGIE_API__PUBLIC_URL"] == "https://vigie.example.com"


def test_each_login_has_a_password_of_its_own(tmp_path: Path) -> None:
    paths = install(tmp_path, ServerOptions())
    urls = {name: read_env_file(paths.env_file(name))["VIGIE_DATABASE__URL"] for name in ("migrate", *ROLES)}
    assert len({url.split("@")[0].rsplit(":")[-1] for url in urls.values()}) == len(urls)
    assert urls["deliver"].startswith("postgresql://vigie_deliver:")
    assert urls["migrate"].startswith("postgresql://vigie:")
    assert all(url.endswith("@127.0.0.1:5433/vigie") for url in urls.values())


def test_only_the_processes_that_need_a_secret_have_it(tmp_path: Path) -> None:
    paths = install(tmp_path, ServerOptions())
    texts = {name: paths.env_file(name).read_text() for name in ("vigie", "migrate", *ROLES)}
    with_key = {name for name, text in texts.items() if "ENCRYPTION" in text}
    assert with_key == {"api", "deliver", "maintain", "migrate"}
    assert {name for name, text in texts.items() if "ADMIN_KEY" in text} == {"api"}


def test_an_administrators_key_that_was_removed_does_not_come_back(tmp_path: Path) -> None:
    paths = install(tmp_path, ServerOptions())
    api = paths.env_file("api")
    api.write_text("".join(line for line in api.read_text().splitlines(True) if "ADMIN_KEY" not in line))
    install(tmp_path, ServerOptions())
    assert "ADMIN_KEY" not in api.read_text()


def test_the_shell_and_pydantic_read_the_same(tmp_path: Path) -> None:
    """The command of administrators is a shell script."""
    paths = install(tmp_path, PUBLIC)
    api = paths.env_file("api")
    script = f"set -a; . {shlex.quote(str(api))}; exec env"
    printed = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True, env={})  # noqa: S603, S607
    sourced = dict(line.split("=", 1) for line in printed.stdout.splitlines())
    for name, value in read_env_file(api).items():
        assert sourced[name] == value
    with replaced_environment(read_env_file(api)):
        settings = read_settings()
        assert "HOME" in os.environ
    assert settings.api.workers == 3
    assert settings.api.ready_requires == ["database", "migrations", "ingest", "deliver", "maintain"]
    assert [str(each) for each in settings.api.trusted_proxies] == ["127.0.0.1"]


def test_one_of_three_machines_has_an_edge(tmp_path: Path) -> None:
    paths = install(tmp_path, ONE_OF_THREE)
    found = {name: read_process_environment(paths, name) for name in (*ONE_OF_THREE.roles, "migrate")}
    assert {each["VIGIE_MESSAGE_LOG__ENGINE"] for each in found.values()} == {"jetstream"}
    hosts = "10.0.0.1:5432,10.0.0.2:5432"
    assert all(each["VIGIE_DATABASE__URL"].endswith(f"@{hosts}/vigie") for each in found.values())
    assert found["edge"]["VIGIE_DATABASE__URL"] == found["maintain"]["VIGIE_DATABASE__URL"]
    with replaced_environment(found["edge"]):
        settings = read_settings()
    assert (settings.edge.name, settings.edge.host, settings.edge.port) == ("machine2", "10.0.0.2", 1883)
    assert settings.message_log.servers == ["10.0.0.1:4222", "10.0.0.2:4222"]
    # Its own broker, with the session of the ingest that the server had before.
    assert settings.broker.host == "127.0.0.1"
    assert settings.ingest.client_id == found["ingest"]["VIGIE_INGEST__CLIENT_ID"]
    assert (settings.api.host, settings.metrics_port) == ("10.0.0.2", 8004)
    with replaced_environment(found["api"]):
        settings = read_settings()
    assert [str(each) for each in settings.api.trusted_proxies] == ["127.0.0.1", "10.0.0.250"]
    assert settings.api.host == "0.0.0.0"  # noqa: S104 (the load balancer reaches it)


def test_what_three_machines_send_in_clear_is_reported_until_it_is_allowed(tmp_path: Path) -> None:
    paths = install(tmp_path, ONE_OF_THREE)

    def codes() -> set[str]:
        found = check_process_settings(paths, ONE_OF_THREE.roles)
        return {each.detail.partition(":")[0] for each in found if each.state == "missing"}

    assert codes() == {"database_without_tls"}
    paths.env_file("local").write_text("VIGIE_ALLOW_INSECURE='[\"database_without_tls\"]'\n")
    assert codes() == set()


def test_secrets_are_those_of_the_first_machine(tmp_path: Path) -> None:
    """The settings of the first machine are copied, without its options."""
    first, second = tmp_path / "first", tmp_path / "second"
    paths = install(first, ONE_OF_THREE)
    ServerPaths(second).settings.mkdir(parents=True)
    for file in paths.settings.iterdir():
        (ServerPaths(second).settings / file.name).write_bytes(file.read_bytes())
    install(second, replace(ONE_OF_THREE, edge="machine3", edge_host="10.0.0.3"))
    differing = {
        name: (value, found.get(name))
        for role in (*ONE_OF_THREE.roles, "migrate")
        for found in (read_process_environment(ServerPaths(second), role),)
        for name, value in read_process_environment(paths, role).items()
        if found.get(name) != value and name != "VIGIE_ENCRYPTION__KEYS_FILE" and "PASSWORD_FILE" not in name
    }
    assert differing == {
        "VIGIE_EDGE__NAME": ("machine2", "machine3"),
        "VIGIE_EDGE__HOST": ("10.0.0.2", "10.0.0.3"),
        "VIGIE_API__HOST": ("10.0.0.2", "10.0.0.3"),
    }
