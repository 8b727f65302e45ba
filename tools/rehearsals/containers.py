"""Rehearses the containers on a real podman: `make rehearse-containers`, as root.

It makes a base image by debootstrap, builds the images of the Dockerfile, and starts compose.yaml with the
demo city. Then it checks:

- TLS, and Prometheus' targets;
- a new box that publishes by MQTT over TLS within two seconds, and its sample by REST;
- that a box is cut off when its account is revoked;
- an alert and its webhook;
- a sample after each kill of a process, which comes back without ending another one, and after a restart of
  all containers;
- that `down --volumes` leaves no container and no volume.

Building the images takes about ten minutes, the checks about five.
"""

import argparse
import contextlib
import json
import os
import shutil
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import httpx
import trustme

from tools.rehearsals.podman_host import PACKAGES, PodmanHost, kill_container
from tools.rehearsals.report import (
    RehearsalError,
    RehearsalReport,
    install_packages,
    run_command,
    wait_for,
)

_ROOT: Final = Path(__file__).parents[2]
_BASE: Final = "localhost/debian:trixie-slim"
_SERVICES: Final = ("database", "broker", "proxy", "prometheus")
_COMPOSE: Final = ("podman-compose", "-f", "compose.yaml", "-f", "compose.demo.yaml")
_BUILD_TIMEOUT_S: Final = 1800.0
_HTTPS_PORT: Final = 18443
_ACCOUNT: Final = 10001
_BOX: Final = "container-1"
_KILLED: Final = ("ingest", "database", "broker", "maintain", "deliver", "api")
_ACCOUNT_WITHIN_S: Final = 2.0
_RECONNECTS_AFTER_S: Final = 1.5  # mosquitto_sub waits for a second, and ends when it is refused


class _City:
    """Runs the containers of compose.yaml in a folder of their own."""

    def __init__(self, host: PodmanHost, folder: Path) -> None:
        self.host, self.folder = host, folder
        self.secrets: dict[str, str] = {}

    def write_files(self) -> None:
        """Write the files that an operator adds to compose.yaml: secrets and the broker's certificate."""
        shutil.rmtree(self.folder, ignore_errors=True)
        certificates = self.folder / "certificates"
        certificates.mkdir(parents=True)
        for name in ("compose.yaml", "compose.demo.yaml"):
            shutil.copy(_ROOT / name, self.folder / name)
        printed = self.host.run("podman", "run", "--rm", "--network", "none", "vigie", *_GENERATE)
        lines = [*printed.splitlines(), "VIGIE_HTTP_PORT=18080", f"VIGIE_HTTPS_PORT={_HTTPS_PORT}"]
        file = self.folder / ".env"
        file.touch(mode=0o600)
        file.write_text("\n".join(lines) + "\n", encoding="utf-8")
        self.secrets = dict(line.split("=", 1) for line in lines if "=" in line and not line.startswith("#"))
        authority = trustme.CA()
        own = authority.issue_cert("localhost", "127.0.0.1")
        authority.cert_pem.write_to_path(str(self.folder / "ca.pem"))
        own.cert_chain_pems[0].write_to_path(str(certificates / "broker.pem"))
        own.private_key_pem.write_to_path(str(certificates / "broker-key.pem"))
        (certificates / "broker-key.pem").chmod(0o400)
        for each in certificates.iterdir():
            os.chown(each, _ACCOUNT, _ACCOUNT)

    def compose(self, *words: str) -> str:
        """Run podman-compose."""
        return self.host.run(*_COMPOSE, *words, folder=self.folder)

    def client(self) -> httpx.Client:
        """Return a client of the API, which trusts the authority of the proxy alone."""
        authority = self.host.run(
            "podman", "exec", "vigie_proxy_1", "cat", "/data/caddy/pki/authorities/local/root.crt"
        )
        file = self.folder / "proxy-ca.pem"
        file.write_text(authority, encoding="utf-8")
        return httpx.Client(
            base_url=f"https://localhost:{_HTTPS_PORT}",
            verify=ssl.create_default_context(cafile=str(file)),
            headers={"Authorization": f"Bearer {self.secrets['VIGIE_BOOTSTRAP_ADMIN_KEY']}"},
            timeout=20,
        )

    def publish(self, password: str, value: float, box: str = _BOX) -> None:
        """Publish a sample as a box, by MQTT over TLS."""
        message = f'{{"time": "{datetime.now(UTC):%Y-%m-%dT%H:%M:%S.%fZ}", "values": {{"co2": {value}}}}}'
        words = [*self._client_words("mosquitto_pub", password, box), "-t", f"vigie/v1/{box}/telemetry"]
        run_command([*words, "-m", message], timeout_s=20)

    def subscribe_words(self, password: str, box: str = _BOX) -> list[str]:
        """Return the command that stays connected as a box until the broker refuses it."""
        return [*self._client_words("mosquitto_sub", password, box), "-t", f"vigie/v1/{box}/ack"]

    def _client_words(self, program: str, password: str, box: str) -> list[str]:
        address = ["-h", "localhost", "-p", "8883", "--cafile", str(self.folder / "ca.pem")]
        return [program, *address, "-u", box, "-P", password, "-q", "1"]


_GENERATE: Final = ("secrets", "generate", "--compose")


def _items(client: httpx.Client, path: str) -> list[dict[str, Any]]:
    answer = client.get(path)
    answer.raise_for_status()
    found: list[dict[str, Any]] = answer.json()["data"]
    return found


def _is_ready(client: httpx.Client) -> bool:
    with contextlib.suppress(httpx.HTTPError):
        return client.get("/readyz").status_code == httpx.codes.OK
    return False


def _build(report: RehearsalReport, host: PodmanHost, ca: str | None) -> None:
    if not host.has_image(_BASE):
        with report.step("base image by debootstrap"):
            host.import_debian(_BASE, "trixie")
    commit = run_command(["git", "-C", str(_ROOT), "rev-parse", "HEAD"]).strip()
    # Storage without overlays copies the whole file system for each layer: 20 GB for the program's image.
    common = ["--layers=false", "--isolation", "chroot", "--network", "host", "--build-arg", f"BASE={_BASE}"]
    common += ["--build-arg", f"VIGIE_COMMIT={commit}", *(["--secret", f"id=ca,src={ca}"] if ca else [])]
    for target in ("vigie", *_SERVICES):
        name = target if target == "vigie" else f"vigie-{target}"
        with report.step(f"podman build --target {target}") as note:
            words = ["podman", "build", "--quiet", *common, "--target", target, "--tag", name, str(_ROOT)]
            host.run(*words, timeout_s=_BUILD_TIMEOUT_S)
            size = int(host.run("podman", "image", "inspect", "--format", "{{.Size}}", name))
            note(f"{size / 1e6:.0f} MB")


@contextlib.contextmanager
def _running(report: RehearsalReport, city: _City) -> Iterator[None]:
    try:
        with report.step("podman-compose up --detach"):
            city.compose("up", "--detach", "--no-build")
        yield
    finally:
        with report.step("podman-compose down --volumes") as note:
            city.compose("down", "--volumes")
            left = city.host.run("podman", "ps", "--all", "--quiet") + city.host.run(
                "podman", "volume", "ls", "--quiet"
            )
            if left.strip():
                raise RehearsalError(f"left behind: {left}")
            note("no container and no volume is left")


def _check_image(report: RehearsalReport, host: PodmanHost) -> None:
    with report.step("the program's image") as note:
        look = ["podman", "run", "--rm", "--network", "none", "--read-only", "--tmpfs", "/tmp"]  # noqa: S108
        shell = [*look, "--entrypoint", "sh", "vigie", "-c"]
        found = host.run(*shell, "id -u; command -v gcc cc pip git || true; touch /x 2>&1 || true").split(
            "\n"
        )
        if found[0] != str(_ACCOUNT) or "Read-only" not in found[1]:
            raise RehearsalError(f"not as it should be: {found}")
        note(f"runs as {_ACCOUNT}, root file system read-only, no compiler, no pip")
        note(host.run(*look, "vigie", "version").strip())
        label = host.run("podman", "image", "inspect", "--format", '{{index .Labels "vigie.sbom"}}', "vigie")
        listed = json.loads(host.run(*look, "--entrypoint", "cat", "vigie", label.strip()))
        note(f"{len(listed['components'])} components in {label.strip()}")


def _serve(report: RehearsalReport, city: _City) -> None:
    with report.step("ready behind TLS"):
        wait_for("the proxy's authority", lambda: _exists(city), 60)
        client = city.client()
        wait_for("/readyz", lambda: _is_ready(client), 120, 1)
    with report.step("the demo city") as note:
        wait_for("boxes that are online", lambda: _count_online(client) > _SOME, 120, 1)
        note(f"{_count_online(client)} boxes online")
    with report.step("an alert out") as note:
        delivered = wait_for("a webhook", lambda: _items(client, "/v1/deliveries?state=delivered"), 240, 2)
        note(f"{delivered[0]['type']} delivered")
    with report.step("a box made by the API, its sample by MQTT over TLS, read by REST") as note:
        password = _make_box(client)
        began = time.monotonic()
        _wait_for_account(city, password, 612, timeout_s=_ACCOUNT_WITHIN_S)
        note(f"account in force after {time.monotonic() - began:.1f} s")
        wait_for("the sample", lambda: _latest(client) == 612, 20)  # noqa: PLR2004 (published above)
    with report.step("a revoked account") as note:
        _revoke_account(city, client, note)
    with report.step("Prometheus") as note:
        note(f"{wait_for('targets', _targets, 60, 1)} targets up")
    _disturb(report, city, client, password)


def _disturb(report: RehearsalReport, city: _City, client: httpx.Client, password: str) -> None:
    for number, each in enumerate(_KILLED):
        with report.step(f"kill -9 {each}") as note:
            killed = datetime.now(UTC)
            others = _find_processes(city.host, each)
            kill_container(city.host, f"vigie_{each}_1")
            _pass_sample(city, client, password, 700 + number)
            note("a sample came through")
            if each in {"broker", "maintain"}:
                box = f"made-after-{each}"
                made = _make_box(client, box)
                _wait_for_account(city, made, 1, box)
                note("a new box's account is in force")
            if each == "deliver":
                wait_for("another webhook", lambda: _has_delivered(client, killed), 240, 2)  # noqa: B023 (called here)
                note("another webhook was delivered")
            wait_for("/readyz", lambda: _is_ready(client), 90, 0.5)
            note("ready")
            if (found := _find_processes(city.host, each)) != others:
                raise RehearsalError(f"other processes ended: {others} before, {found} after")
    with report.step("podman-compose down, up: data are kept"):
        last = _latest(client)
        city.compose("down")
        city.compose("up", "--detach", "--no-build")
        client = city.client()
        wait_for("/readyz", lambda: _is_ready(client), 120, 1)
        if _latest(client) != last:
            raise RehearsalError("the sample is lost")
        _pass_sample(city, client, password, 814)


_SOME: Final = 5


def _exists(city: _City) -> bool:
    return _try(lambda: city.client().close())


def _try(work: Any) -> bool:  # noqa: ANN401 (any callable)
    try:
        work()
    except (RehearsalError, OSError, httpx.HTTPError):
        return False
    return True


def _count_online(client: httpx.Client) -> int:
    try:
        return len(_items(client, "/v1/boxes?state=online&limit=100"))
    except httpx.HTTPError:
        return 0


def _find_processes(host: PodmanHost, without: str) -> dict[str, int]:
    """Return the process id of each service but one; 0 if it does not run."""
    return {each: int(host.inspect(f"vigie_{each}_1")["State"]["Pid"]) for each in _KILLED if each != without}


def _wait_for_account(
    city: _City, password: str, value: float, box: str = _BOX, timeout_s: float = 30.0
) -> None:
    """Wait until the broker takes a sample from a box."""
    wait_for(f"publishing as {box}", lambda: _try(lambda: city.publish(password, value, box)), timeout_s)


def _revoke_account(city: _City, client: httpx.Client, note: Callable[[str], None]) -> None:
    """Revoke the account of a box that is connected, and wait until the broker ends its connection."""
    box = "revoked-1"
    password = _make_box(client, box)
    _wait_for_account(city, password, 1, box)
    with subprocess.Popen(city.subscribe_words(password, box), stdout=subprocess.DEVNULL) as connected:  # noqa: S603 (our words)
        try:
            # It prints nothing when it is connected, and ends at once if the broker refuses it.
            time.sleep(1)
            if connected.poll() is not None:
                raise RehearsalError(f"not connected: exit status {connected.returncode}")
            client.post(f"/v1/boxes/{box}/credentials/revoke").raise_for_status()
            began = time.monotonic()
            connected.wait(_ACCOUNT_WITHIN_S + _RECONNECTS_AFTER_S)
            note(f"cut off and refused after {time.monotonic() - began:.1f} s")
        finally:
            connected.kill()


def _pass_sample(city: _City, client: httpx.Client, password: str, value: float) -> None:
    """Have a sample pass through the broker, ingest, the database and the API.

    A broker that was killed may drop what is published before ingest has subscribed again. A box without
    `ack` does not learn of it, so this one repeats its sample.
    """
    until = time.monotonic() + 90
    while _latest(client) != value:
        if time.monotonic() > until:
            raise RehearsalError("the sample by REST: not within 90 s")
        _wait_for_account(city, password, value)
        with contextlib.suppress(RehearsalError):
            wait_for("the sample by REST", lambda: _latest(client) == value, 3)


def _has_delivered(client: httpx.Client, since: datetime) -> bool:
    """Return whether the last attempt of the newest delivered webhook began after a moment."""
    newest = _items(client, "/v1/deliveries?state=delivered&limit=1")
    return bool(newest) and datetime.fromisoformat(newest[0]["attempts"][-1]["time"]) > since


def _make_box(client: httpx.Client, box: str = _BOX) -> str:
    site = _items(client, "/v1/sites?limit=1")[0]["id"]
    answer = client.post("/v1/boxes", json={"id": box, "site_id": site, "interval_s": 60})
    answer.raise_for_status()
    password: str = answer.json()["credentials"]["password"]
    return password


def _latest(client: httpx.Client) -> float | None:
    try:
        answer = client.get(f"/v1/boxes/{_BOX}/latest")
    except httpx.HTTPError:
        return None
    if answer.status_code != httpx.codes.OK:
        return None
    values: dict[str, Any] = answer.json()
    return float(values["values"]["co2"]) if "co2" in values["values"] else None


def _targets() -> int:
    with contextlib.suppress(httpx.HTTPError):
        answer = httpx.get("http://127.0.0.1:9090/api/v1/query", params={"query": "sum(up)"}).json()
        found = answer["data"]["result"]
        up = int(float(found[0]["value"][1])) if found else 0
        return up if up >= 4 else 0  # noqa: PLR2004 (a target for each process)
    return 0


def main() -> int:
    """Run the rehearsal; returns the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--home", type=Path, default=_ROOT / ".vigie" / "rehearsal-containers")
    parser.add_argument("--ca", help="a certificate authority (PEM) of a network that inspects TLS")
    parser.add_argument("--no-build", action="store_true", help="use the images of the last rehearsal")
    options = parser.parse_args()
    report = RehearsalReport()
    host = PodmanHost(options.home.resolve())
    try:
        with report.step("Debian packages"):
            install_packages(PACKAGES)
        with host.prepared():
            if not options.no_build:
                _build(report, host, options.ca)
            _check_image(report, host)
            city = _City(host, host.home / "city")
            city.write_files()
            with _running(report, city):
                _serve(report, city)
    except (RehearsalError, subprocess.SubprocessError) as error:
        if not report.failures:
            report.failures.append(str(error))
    return report.end()


if __name__ == "__main__":
    sys.exit(main())
