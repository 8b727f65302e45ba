"""The settings of a server's processes, read back as the processes read them."""

import os
import shlex
import subprocess
from pathlib import Path

import pytest

from app.platform.config.misspelt_setting_names import find_misspelt_settings, list_setting_names
from app.platform.secrets.sealing import generate_encryption_key
from app.server_installation.rendered_settings import render_gateway_account, render_settings
from app.server_installation.server_environment import check_process_settings, replaced_environment
from app.server_installation.server_options import ServerOptions
from app.server_installation.server_paths import ROLES, ServerPaths
from app.server_installation.server_secrets import load_or_generate_secrets, read_env_file
from app.settings import VigieSettings, read_settings

PUBLIC = ServerOptions(name="vigie.example.com", workers=3)


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
    assert [str(each) for each in check_process_settings(paths)] == [
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
