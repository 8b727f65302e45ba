"""The files in `deploy/server`: the values of `vigie up`, a reason for each, one hardening for all units."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.server_installation.broker_step import render_broker_conf, render_broker_tls_conf
from app.server_installation.database_step import render_cluster_conf
from app.server_installation.deploy_files import find_deploy_file, list_unit_files, render_deploy_file
from app.server_installation.server_options import ServerOptions
from app.server_installation.server_paths import CLUSTER_UNIT, EDGE, PATRONI_UNIT, ROLES, ServerPaths
from app.server_installation.unit_step import list_enabled_units, render_proxy_conf, render_unit
from app.standalone.mosquitto_config import TlsListener, choose_broker_limits, render_mosquitto_config
from app.standalone.postgres_config import render_postgres_config

MEMORY = 24 * 2**30
OPTIONS = ServerOptions(name="vigie.example.com")
# On a server, PostgreSQL has Debian's port and sockets; `vigie up` reads its log from a file.
PRIVATE_SETTINGS = {"port", "unix_socket_directories", "log_destination", "logging_collector"}
# Debian's mosquitto.conf sets these, and `vigie up` has files of its own.
PRIVATE_OPTIONS = {"listener", "password_file", "acl_file"} | {
    f"persistence{end}" for end in ("", "_location", "_file")
}


def values(text: str, separator: str) -> dict[str, str]:
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    pairs = [line.partition(separator) for line in lines]
    return {name.strip(): value.strip() for name, _, value in pairs if name.strip() != "log_type"}


def test_postgresql_has_the_values_of_vigie_up() -> None:
    server = values(render_cluster_conf(MEMORY), "=")
    private = values(render_postgres_config(port=1, total_bytes=MEMORY, durable=True), "=")
    assert {name: private[name] for name in private.keys() - PRIVATE_SETTINGS} == {
        name: server.get(name) for name in private.keys() - PRIVATE_SETTINGS
    }
    assert server.keys() - private.keys() == {"ssl"}


def test_the_broker_has_the_options_of_vigie_up() -> None:
    paths = ServerPaths()
    server = values(render_broker_conf(OPTIONS, paths, MEMORY), " ")
    private = values(
        render_mosquitto_config(port=1, home=Path("/x"), limits=choose_broker_limits(MEMORY)), " "
    )
    assert {name: private[name] for name in private.keys() - PRIVATE_OPTIONS} == {
        name: server.get(name) for name in private.keys() - PRIVATE_OPTIONS
    }
    assert server["listener"] == "1883 127.0.0.1"
    listener = TlsListener("0.0.0.0", 8883, Path("/c"), Path("/k"))  # noqa: S104
    names = values("\n".join(listener.lines(Path("/x"))), " ").keys()
    assert values(render_broker_tls_conf(OPTIONS, paths), " ").keys() == names | {"tls_version"}


@pytest.mark.parametrize(
    "name", ["server/postgresql/vigie.conf", "server/mosquitto/vigie.conf", "server/mosquitto/vigie-tls.conf"]
)
def test_values_have_reasons(name: str) -> None:
    """Each block of values follows a comment; a block has four at most that share a reason."""
    blocks = re.split(r"\n(?=#)|\n\n", find_deploy_file(name).read_text())
    for block in blocks:
        lines = block.strip().splitlines()
        settings = [line for line in lines if not line.startswith("#")]
        assert not settings or lines[0].startswith("#"), block
        assert len(settings) <= 4, block


def units() -> Iterator[str]:
    yield from (name for name in list_unit_files() if name.endswith(".service"))


def hardening(name: str) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    text = render_deploy_file(f"server/systemd/{name}").partition("# --- what the process may see")[2]
    for line in text.partition("[Install]")[0].splitlines():
        key, mark, value = line.partition("=")
        if mark and not line.startswith("#"):
            found.setdefault(key, []).append(value)
    return found


def test_all_processes_are_hardened_alike() -> None:
    reference = hardening("vigie-deliver.service")
    assert len(reference) > 25
    differing = {"ReadWritePaths", "IPAddressDeny", "IPAddressAllow"}
    for role in (*ROLES, EDGE, "migrate"):
        found = hardening(f"vigie-{role}.service")
        if role == "api":
            # It starts workers by setpriv.
            found["SystemCallFilter"].remove("capset")
        assert {key: found.get(key) for key in reference.keys() | found.keys() - differing} == reference, role


@pytest.mark.parametrize("name", sorted(units()))
def test_units_run_the_current_release_under_a_name_in_the_journal(name: str) -> None:
    text = render_deploy_file(f"server/systemd/{name}")
    if "/opt/vigie" in text:
        assert re.search(r"^ExecStart=/opt/vigie/current/bin/vigie [a-z -]+$", text, re.MULTILINE)
    assert f"SyslogIdentifier={name.removesuffix('.service')}\n" in text


def test_the_target_has_all_processes() -> None:
    for role in (*ROLES, EDGE, "migrate"):
        text = render_deploy_file(f"server/systemd/vigie-{role}.service")
        assert "PartOf=vigie.target\n" in text
        assert text.rstrip().endswith("[Install]\nWantedBy=vigie.target")
        for file in ("vigie", role):
            assert f"EnvironmentFile=/etc/vigie/{file}.env\n" in text


def test_every_enabled_unit_exists_and_can_be_enabled() -> None:
    options = ServerOptions(name="a.example", certificate="/c.pem", key="/k.pem", edge="a")
    assert "vigie-edge.service" in list_enabled_units(options)
    assert "vigie-edge.service" not in list_enabled_units(OPTIONS)
    for name in list_enabled_units(options):
        assert "[Install]" in render_unit(name, options)
    assert "PathChanged=/c.pem" in render_unit("vigie-certificate.path", options)


def test_units_depend_on_the_unit_that_runs_postgresql() -> None:
    patroni = ServerOptions(database_hosts="10.0.0.1:5432,10.0.0.2:5432")
    for name in ("vigie.target", "vigie-api.service", "vigie-migrate.service"):
        assert CLUSTER_UNIT in render_unit(name, OPTIONS)
        assert CLUSTER_UNIT not in render_unit(name, patroni)
        assert f"Wants={PATRONI_UNIT}" in render_unit(name, patroni)
    # It works without the database.
    assert PATRONI_UNIT not in render_unit("vigie-edge.service", patroni)


def test_units_that_may_reach_this_machine_only_reach_the_others_by_a_drop_in() -> None:
    for name in units():
        text = render_deploy_file(f"server/systemd/{name}")
        drop_in = f"{name}.d/other-machines.conf"
        if "vigie.target" in text and "IPAddressDeny=any" in text:
            assert "\nIPAddressDeny=\n" in render_deploy_file(f"server/systemd/{drop_in}")
        else:
            assert drop_in not in list_unit_files()


def test_the_proxy_uses_given_files_or_obtains_a_certificate() -> None:
    given = ServerOptions(name="a.example", certificate="/c.pem", key="/k.pem")
    text = render_proxy_conf(given, ServerPaths())
    file = "/etc/caddy/vigie/certificate-and-key.pem"
    assert f"tls {file} {file}\n" in text
    assert "\n\ttls " not in render_proxy_conf(OPTIONS, ServerPaths())
