"""The files of the containers: services have no rights they do not need, and the values of `vigie up`."""

import re
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import TypeAdapter
from typer.testing import CliRunner

from app.platform.kernel.atomic_files import replace_file_text
from app.settings import VigieSettings
from app.standalone.mosquitto_config import BrokerLimits, render_mosquitto_config
from app.standalone.postgres_config import render_postgres_config
from app.standalone.secrets_cli import app
from tools.default_settings import default_settings
from tools.docs_tables import PREFIX, flatten_settings

ROOT = Path(__file__).parents[3]
FILES = ROOT / "deploy" / "containers"
# Values that depend on the place: addresses, paths, sizes of the memory.
OWN_OF_POSTGRES = {
    "listen_addresses", "port", "unix_socket_directories", "unix_socket_permissions", "hba_file",
    "shared_buffers", "effective_cache_size", "maintenance_work_mem", "work_mem",
}  # fmt: skip
DEFAULTS_OF_POSTGRES = {
    "full_page_writes", "max_wal_senders", "logging_collector", "log_line_prefix", "log_checkpoints",
    "timescaledb.bgw_launcher_poll_time",
}  # fmt: skip
OWN_OF_MOSQUITTO = {"listener", "password_file", "acl_file", "persistence_location"}


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    read: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text())
    return read


def lines_of(text: str, separator: str) -> dict[str, str]:
    found = {}
    for line in text.splitlines():
        content = re.sub(r"\s+#.*", "", line).strip()
        if content and not content.startswith("#"):
            name, value = content.split(separator, 1)
            found[name.strip()] = value.strip().strip("'")
    return found


def test_every_service_has_only_the_rights_it_needs(compose: dict[str, Any]) -> None:
    for name, service in compose["services"].items():
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert "privileged" not in service, name
    published = {
        name: service["ports"] for name, service in compose["services"].items() if "ports" in service
    }
    # Without TLS only on this machine.
    assert published == {
        "broker": ["8883:8883", "127.0.0.1:1883:1883"],
        "proxy": ["${VIGIE_HTTP_PORT:-80}:80", "${VIGIE_HTTPS_PORT:-443}:443"],
        "prometheus": ["127.0.0.1:9090:9090"],
    }
    assert compose["services"]["database"]["network_mode"] == "none"


def test_every_variable_of_a_process_is_a_setting(compose: dict[str, Any]) -> None:
    known = {name.strip("`") for name, *_ in flatten_settings(default_settings(), PREFIX)}
    for name in ("migrate", "api", "ingest", "deliver", "maintain"):
        assert set(compose["services"][name]["environment"]) <= known, name
    demo = yaml.safe_load((ROOT / "compose.demo.yaml").read_text())
    assert set(demo["x-demo"]) <= known
    for variables in (compose["x-environment"], demo["x-demo"]):
        TypeAdapter(list[str]).validate_json(variables["VIGIE_ALLOW_INSECURE"])


def test_the_generator_makes_every_secret_of_the_compose_file() -> None:
    done = CliRunner().invoke(app, ["generate", "--compose"])
    assert done.exit_code == 0
    made = lines_of(done.output, "=")
    text = (ROOT / "compose.yaml").read_text() + (ROOT / "compose.demo.yaml").read_text()
    needed = set(re.findall(r"\$\{(\w+)\}", text))
    assert needed <= set(made)
    assert set(made) - needed == {"VIGIE_DOMAIN"}
    assert len(set(made.values())) == len(made), "a secret occurs twice"
    settings = VigieSettings(encryption={"keys": [made["VIGIE_ENCRYPTION_KEY"]]})
    assert len(settings.encryption.keys) == 1


def test_keys_file_and_compose_exclude_each_other(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["generate", "--compose", "--keys-file", str(tmp_path / "keys")])
    assert done.exit_code == 2
    assert not (tmp_path / "keys").exists()


def test_postgresql_has_the_values_of_the_private_one() -> None:
    private = lines_of(render_postgres_config(port=1, total_bytes=2**33, durable=True), "=")
    here = lines_of((FILES / "postgresql.conf").read_text(), "=")
    assert set(here) - set(private) == {"unix_socket_permissions", "hba_file"}
    assert set(private) - set(here) == DEFAULTS_OF_POSTGRES | {"port"}
    common = set(here) - OWN_OF_POSTGRES
    assert {name: here[name] for name in common} == {name: private[name] for name in common}


def test_the_broker_has_the_values_of_the_private_one() -> None:
    limits = BrokerLimits()
    private = render_mosquitto_config(port=1, home=Path("/x"), limits=limits).splitlines()
    here = (FILES / "mosquitto.conf").read_text().splitlines()

    def of(lines: list[str]) -> set[str]:
        plain = {line for line in lines if line and not line.startswith("#")}
        return {line for line in plain if line.split(" ", 1)[0] not in OWN_OF_MOSQUITTO}

    assert of(here) == of(private)


def test_the_broker_reloads_by_itself(compose: dict[str, Any]) -> None:
    """So no other container needs its processes, and none ends with it."""
    maintain, broker = compose["services"]["maintain"], compose["services"]["broker"]
    assert not [name for name, service in compose["services"].items() if "pid" in service]
    variables = maintain["environment"]
    assert variables["VIGIE_BROKER__WATCHES_PASSWORD_FILE"] == "true"
    assert "VIGIE_BROKER__PID_FILE" not in variables
    (common,) = set(maintain["volumes"]) & set(broker["volumes"])
    (watched,) = re.findall(r"^broker-reload.sh \"\$\$\" \"\$accounts(\S+)\" ", entrypoint(), re.MULTILINE)
    assert common.partition(":")[2] + watched == variables["VIGIE_BROKER__PASSWORD_FILE"]
    # In the place of the shell: its exit status is that of the container, and signals reach it.
    assert entrypoint().splitlines()[-1].startswith("exec mosquitto ")


def entrypoint() -> str:
    return (FILES / "broker-entrypoint.sh").read_text()


def test_a_process_is_signalled_once_for_each_change_of_its_file(tmp_path: Path) -> None:
    file, seen = tmp_path / "passwords", tmp_path / "seen"
    file.write_text("one")
    seen.touch()
    shutil.copystat(file, seen)
    loop = "trap 'echo changed' HUP; echo ready; while :; do sleep 0.02; done"
    # A shell cannot trap what was ignored when it began, as under nohup.
    counting = ["/usr/bin/env", "--default-signal=HUP", "/bin/sh", "-c", loop]
    with subprocess.Popen(counting, stdout=subprocess.PIPE, text=True) as reader:  # noqa: S603 (our words)
        assert reader.stdout is not None
        assert reader.stdout.readline() == "ready\n"
        words = [str(each) for each in (FILES / "broker-reload.sh", reader.pid, file, seen)]
        with subprocess.Popen(words) as script:  # noqa: S603 (our script)
            # Two rounds without a change.
            time.sleep(0.5)
            replace_file_text(file, "two")
            assert reader.stdout.readline() == "changed\n"
            file.touch()
            assert reader.stdout.readline() == "changed\n"
            # It goes on without the file.
            file.unlink()
            time.sleep(0.5)
            file.write_text("three")
            assert reader.stdout.readline() == "changed\n"
            time.sleep(0.5)
            script.kill()
        reader.kill()
        assert reader.stdout.read() == ""


@pytest.mark.parametrize("script", sorted(path.name for path in FILES.glob("*.sh")))
def test_scripts_are_valid_shell(script: str) -> None:
    subprocess.run(["/bin/sh", "-n", FILES / script], check=True)  # noqa: S603 (our file)


def test_images_run_without_root_and_the_program_is_the_default() -> None:
    stages = re.split(r"^FROM ", (ROOT / "Dockerfile").read_text(), flags=re.MULTILINE)
    images = {
        name: text
        for text in stages
        if (name := text.split("\n", 1)[0].rpartition(" AS ")[2]) in
        {"vigie", "database", "broker", "proxy", "prometheus"}
    }  # fmt: skip
    assert len(images) == 5
    for name, text in images.items():
        (user,) = re.findall(r"^USER (\S+)", text, re.MULTILINE)
        assert user not in {"root", "0"}, name
    assert stages[-1].startswith("base AS vigie\n")
    assert "gcc" not in stages[-1]
