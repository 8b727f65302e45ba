"""The programs that read the files of a server accept them: systemd, Caddy, Mosquitto and PostgreSQL."""

import asyncio
import os
import re
import shutil
import signal
import ssl
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiomqtt
import asyncpg
import pytest
import trustme
from cryptography import x509

from app.platform.broker.mosquitto_password_hash import format_password_line
from app.platform.kernel.atomic_files import replace_file_text
from app.server_installation.broker_step import render_broker_conf, render_broker_tls_conf, render_edge_conf
from app.server_installation.database_step import render_cluster_conf
from app.server_installation.deploy_files import find_deploy_file, list_unit_files
from app.server_installation.server_options import ServerOptions
from app.server_installation.server_paths import CERTIFICATE_COPY, ServerPaths
from app.server_installation.unit_step import render_proxy_conf, render_unit
from app.standalone.child_process import ChildProcess, StopStep
from app.standalone.free_ports import find_free_port
from app.standalone.mosquitto_config import ACCESS_RULES
from app.standalone.private_mosquitto import find_mosquitto
from app.standalone.private_postgres import PrivatePostgres, find_postgres_binaries
from app.standalone.unprivileged_accounts import build_run_as_command, find_service_account

MOST_EXPOSURE = 2.5
OPTIONS = ServerOptions(name="vigie.test", certificate="/root/tls/c.pem", key="/root/tls/k.pem")


def run(*words: str, environment: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(  # noqa: S603
        words, capture_output=True, text=True, check=False, timeout=60, env=environment
    )


@pytest.fixture(scope="module")
def unit_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The units, with a program that this machine has."""
    folder = tmp_path_factory.mktemp("units")
    for name in list_unit_files():
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(render_unit(name, OPTIONS).replace("/opt/vigie/current/bin/vigie", "/bin/true"))
    return folder


def services() -> list[str]:
    return [name for name in list_unit_files() if re.fullmatch(r"vigie-.*\.service", name)]


def analyze(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    # The units of the system, after these.
    environment = {**os.environ, "SYSTEMD_UNIT_PATH": f"{folder}:", "SYSTEMD_COLORS": "0"}
    return run("systemd-analyze", *words, environment=environment)


def test_systemd_has_nothing_to_say_of_the_units(unit_folder: Path) -> None:
    names = [str(unit_folder / name) for name in list_unit_files() if "/" not in name]
    done = analyze(unit_folder, "verify", "--man=no", *names)
    # It prints errors, and exits with 0. Other units of this machine are not ours.
    said = [line for line in done.stderr.splitlines() if "vigie" in line]
    assert (done.returncode, done.stdout, said) == (0, "", [])


def test_systemd_would_name_a_misspelt_directive(unit_folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "vigie-ingest.service"
    path.write_text((unit_folder / path.name).read_text().replace("WatchdogSec", "WatchdogSecs"))
    assert "Unknown key 'WatchdogSecs'" in analyze(tmp_path, "verify", "--man=no", str(path)).stderr


@pytest.mark.parametrize("name", services())
def test_no_unit_is_exposed(unit_folder: Path, name: str) -> None:
    done = analyze(unit_folder, "security", "--offline=true", "--no-pager", str(unit_folder / name))
    found = re.search(rf"exposure level for {re.escape(name)}: ([\d.]+)", done.stdout)
    assert found is not None, done.stderr
    assert float(found[1]) <= MOST_EXPOSURE


@pytest.mark.skipif(shutil.which("caddy") is None, reason="only servers have Caddy")
@pytest.mark.parametrize("has_files", [True, False])
def test_caddy_accepts_its_configuration(tmp_path: Path, *, has_files: bool) -> None:
    paths = ServerPaths(tmp_path)
    folder = paths.proxy_settings / "vigie"
    folder.mkdir(parents=True)
    leaf = trustme.CA().issue_cert("vigie.test")
    (folder / CERTIFICATE_COPY).write_bytes(leaf.private_key_and_cert_chain_pem.bytes())
    options = OPTIONS if has_files else ServerOptions(name="vigie.test")
    file = tmp_path / "vigie.caddyfile"
    file.write_text(render_proxy_conf(options, paths))
    done = run("caddy", "validate", "--adapter=caddyfile", f"--config={file}")
    assert done.returncode == 0, done.stderr
    assert "Valid configuration" in done.stdout + done.stderr
    # Formatted as Caddy does: it would warn at each reload.
    assert run("caddy", "fmt", str(file)).stdout == file.read_text()


class Broker:
    """Mosquitto with the configuration of a server, in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.options = ServerOptions(
            name="localhost",
            mqtt_port=find_free_port(),
            mqtts_port=find_free_port(),
            api_port=1,
            edge="a",
            edge_host="127.0.0.2",
            log_servers="127.0.0.1:4222",
        )
        self.paths = ServerPaths(folder)
        self.authority = trustme.CA()
        self.account = find_service_account("mosquitto", "nobody")
        for path in (
            self.paths.broker_state,
            self.paths.broker_settings,
            self.paths.broker_conf,
            folder / "data",
        ):
            path.mkdir(parents=True)
        lines = [format_password_line(*each) for each in (("ingest", "in"), ("box-1", "one"))]
        (self.paths.broker_state / "passwords").write_text("\n".join([*lines, ""]))
        (self.paths.broker_settings / "acl").write_text(ACCESS_RULES)
        text = render_broker_conf(self.options, self.paths, 2**31)
        text = text.replace("/run/mosquitto/mosquitto.pid", str(folder / "data/mosquitto.pid"))
        (self.paths.broker_conf / "vigie.conf").write_text(text)
        (self.paths.broker_conf / "vigie-tls.conf").write_text(
            render_broker_tls_conf(self.options, self.paths)
        )
        (self.paths.broker_conf / "vigie-edge.conf").write_text(render_edge_conf(self.options))
        # As Debian's own file.
        main = (
            f"persistence true\npersistence_location {folder}/data/\ninclude_dir {self.paths.broker_conf}\n"
        )
        self.file = folder / "mosquitto.conf"
        self.file.write_text(main)
        self.issue()
        if self.account is not None:
            for path in folder.rglob("*"):
                os.chown(path, self.account.uid, self.account.gid)
            os.chown(folder, self.account.uid, self.account.gid)

    def issue(self) -> int:
        """Write a new certificate; returns its serial number."""
        leaf = self.authority.issue_cert("localhost")
        text = leaf.private_key_and_cert_chain_pem.bytes().decode()
        replace_file_text(self.paths.broker_settings / CERTIFICATE_COPY, text)
        return x509.load_pem_x509_certificate(leaf.cert_chain_pems[0].bytes()).serial_number

    @asynccontextmanager
    async def running(self, folder: Path) -> AsyncIterator[ChildProcess]:
        command = build_run_as_command(self.account, [str(find_mosquitto()), "-c", str(self.file)])
        child = await ChildProcess.start(command, environment={"PATH": "/usr/bin:/bin"}, log=folder / "log")
        try:
            yield child
        finally:
            await child.stop()

    def context(self) -> ssl.SSLContext:
        context = ssl.create_default_context()
        self.authority.configure_trust(context)
        return context

    async def serial(self) -> int:
        _, writer = await asyncio.open_connection("localhost", self.options.mqtts_port, ssl=self.context())
        found = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        writer.close()
        return x509.load_der_x509_certificate(found).serial_number


@pytest.fixture
def public_folder() -> Iterator[Path]:
    """A folder that the broker's account can reach."""
    with tempfile.TemporaryDirectory(prefix="vigie-tests-") as name:
        Path(name).chmod(0o755)
        yield Path(name)


async def test_the_broker_takes_up_a_renewed_certificate_and_closes_nothing(public_folder: Path) -> None:
    folder, broker = public_folder, Broker(public_folder)
    async with broker.running(folder) as child:
        async with asyncio.timeout(60):
            while True:
                try:
                    first = await broker.serial()
                    break
                except OSError:
                    assert child.returncode is None, (folder / "log").read_text()
                    await asyncio.sleep(0.05)
        assert int((folder / "data/mosquitto.pid").read_text()) == child.pid
        context = broker.context()
        port = broker.options.mqtts_port
        async with (
            aiomqtt.Client("localhost", port, tls_context=context, username="box-1", password="one") as box,
            # From another machine of an installation with several brokers.
            aiomqtt.Client(
                broker.options.edge_host, broker.options.mqtt_port, username="ingest", password="in"
            ) as ingest,
        ):
            await ingest.subscribe("vigie/v1/+/telemetry", qos=1)
            second = broker.issue()
            if broker.account is not None:
                for path in broker.paths.broker_settings.iterdir():
                    os.chown(path, broker.account.uid, broker.account.gid)
            child.send(signal.SIGHUP)
            async with asyncio.timeout(60):
                while await broker.serial() != second:  # noqa: ASYNC110 (the broker sends no signal)
                    await asyncio.sleep(0.05)
            assert second != first
            # The connection of before is still that one.
            await box.publish("vigie/v1/box-1/telemetry", b"{}", qos=1)
            async with asyncio.timeout(60):
                assert (await anext(aiter(ingest.messages))).payload == b"{}"


async def test_postgresql_starts_with_the_configuration(folder: Path) -> None:
    pg = PrivatePostgres(folder / "pg", durable=False)
    await pg.start()
    await pg.stop()
    binaries = find_postgres_binaries()
    assert binaries is not None
    replace_file_text(pg.data / "server.conf", render_cluster_conf(2**31), mode=0o644)
    port, log = find_free_port(), folder / "server.log"
    options = (f"config_file={pg.data}/server.conf", f"port={port}", "unix_socket_directories=")
    words = [
        str(binaries / "postgres"),
        "-D",
        str(pg.data),
        *(word for each in options for word in ("-c", each)),
    ]
    command = build_run_as_command(find_service_account("postgres"), words)
    child = await ChildProcess.start(command, environment={"PATH": "/usr/bin:/bin"}, log=log, folder=pg.data)
    try:
        url = re.sub(r":\d+/", f":{port}/", pg.superuser_url)
        connection = await connect(url, child, log)
        faults = await connection.fetch("SELECT name, error FROM pg_file_settings WHERE error IS NOT NULL")
        shown = await connection.fetchrow(
            "SELECT current_setting('fsync'), current_setting('shared_buffers'), current_setting('ssl')"
        )
        await connection.close()
    finally:
        await child.stop((StopStep(signal.SIGINT, 10),))
        pg.close()
    assert faults == []
    assert shown is not None
    assert tuple(shown) == ("on", "256MB", "off")


async def connect(url: str, child: ChildProcess, log: Path) -> asyncpg.Connection:
    async with asyncio.timeout(60):
        while True:
            try:
                return await asyncpg.connect(url)
            except (OSError, asyncpg.CannotConnectNowError):
                assert child.returncode is None, log.read_text()  # noqa: ASYNC240
                await asyncio.sleep(0.1)


def test_the_command_of_administrators_is_a_script_that_refuses_others() -> None:
    path = find_deploy_file("server/vigie.sh")
    assert run("sh", "-n", str(path)).returncode == 0


def test_the_command_reads_no_settings_from_the_folder_of_its_caller(tmp_path: Path) -> None:
    program = tmp_path / "program"
    program.write_text(
        f"#!{sys.executable}\nfrom app.settings import VigieSettings\n"
        "settings = VigieSettings()\nprint(settings.smtp.host, settings.smtp.sender)\n"
    )
    program.chmod(0o700)
    (tmp_path / "local.env").write_text("VIGIE_SMTP__SENDER=vigie@example.com\n")
    script = find_deploy_file("server/vigie.sh").read_text()
    for there, here in (
        ("/opt/vigie/current/bin/vigie", program),
        ("settings=/etc/vigie", f"settings={tmp_path}"),
        # As root.
        ("$(id -u)", "0"),
    ):
        assert there in script
        script = script.replace(there, str(here))
    folder = tmp_path / "downloads"
    folder.mkdir()
    (folder / ".env").write_text("VIGIE_SMTP__HOST=mail.invalid\nVIGIE_SMTP__SENDER=other@mail.invalid\n")
    words = ("env", "-C", str(folder), "sh", "-c", script, "vigie")
    done = run(*words, environment={"PATH": "/usr/bin:/bin"})
    assert (done.stdout, done.stderr) == ("None vigie@example.com\n", "")
