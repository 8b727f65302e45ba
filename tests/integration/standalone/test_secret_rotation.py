"""Secrets of a stack are replaced while it runs: what was made under the old ones goes on working."""

import asyncio
import json
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import aiomqtt
import httpx
import pytest
from standardwebhooks import Webhook
from typer.testing import CliRunner, Result

from app.standalone.secret_rotation import SETTLE_S
from app.standalone.secrets_cli import app
from tests.integration.standalone.stack import Stack, started, until
from tests.integration.standalone.test_up_command import folder

__all__ = ["folder"]

type Request = tuple[dict[str, str], bytes]


@contextmanager
def _receiving() -> Iterator[tuple[str, list[Request]]]:
    got: list[Request] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            got.append(({name.lower(): value for name, value in self.headers.items()}, body))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/hook", got
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture(autouse=True)
def _nothing_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("VIGIE_")]:
        monkeypatch.delenv(name)


def vigie(data: Path, *words: str) -> Result:
    """`vigie secrets …` on a data directory."""
    return CliRunner().invoke(app, [*words, "--data-dir", str(data)])


class Client:
    """The administrator, and a client's receiver."""

    def __init__(self, stack: Stack, url: str, got: list[Request]) -> None:
        self._stack = stack
        self._url = url
        self._got = got

    def call(self, method: str, path: str, key: str | None = None, **body: Any) -> httpx.Response:  # noqa: ANN401
        run = self._stack.run
        headers = {"Authorization": f"Bearer {key or run['admin_key']}"}
        return httpx.request(method, f"{run['api']}{path}", json=body or None, headers=headers, timeout=20)

    def webhook(self) -> dict[str, str]:
        answer = self.call("POST", "/v1/webhooks", url=self._url, events=["alert.firing"])
        made: dict[str, str] = answer.raise_for_status().json()
        return made

    def check(self, webhook: dict[str, str]) -> None:
        """Have a test delivered, signed with the secret that was given when the webhook was made."""
        before = len(self._got)
        self.call("POST", f"/v1/webhooks/{webhook['id']}/test").raise_for_status()
        until(lambda: len(self._got) > before)
        headers, body = self._got[-1]
        Webhook(webhook["secret"]).verify(body, headers)


def _kept(data: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((data / "secrets.json").read_text())
    return found


def _replace_encryption_key(data: Path, client: Client) -> None:
    first = client.webhook()
    client.check(first)
    (old,) = (data / "encryption-keys").read_text().split()
    assert vigie(data, "status").exit_code == 0
    rotated = vigie(data, "rotate")
    assert (rotated.exit_code, "no restart is needed" in rotated.output) == (0, True)
    new, former = (data / "encryption-keys").read_text().split()
    assert former == old
    # The roles that run have both: what was sealed with the first still signs, the second one seals.
    client.check(first)
    second = client.webhook()
    client.check(second)
    assert vigie(data, "reseal").exit_code == 0
    told = vigie(data, "status")
    assert told.exit_code == 0
    assert "seals; 2 (webhook_endpoints.secret 2)" in told.output
    assert "opens only; nothing: it can be removed" in told.output
    refused = vigie(data, "forget")
    assert (refused.exit_code, "wait until 60 s have passed" in refused.stderr) == (2, True)
    past = (data / "encryption-keys").stat().st_mtime - SETTLE_S
    os.utime(data / "encryption-keys", (past, past))
    assert vigie(data, "forget").output.startswith("Removed: ")
    assert (data / "encryption-keys").read_text().split() == [new]
    assert _kept(data)["former_encryption_keys"] == []
    for webhook in (first, second):
        client.check(webhook)


def _replace_admin_key(stack: Stack, client: Client) -> None:
    old = stack.run["admin_key"]
    done = vigie(stack.data, "rotate", "--what", "admin")
    assert (done.exit_code, "The former key is revoked." in done.output) == (0, True), done.output
    new = stack.run["admin_key"]
    assert new == _kept(stack.data)["admin_key"] != old
    assert client.call("GET", "/v1/organisations", key=old).status_code == 401
    assert client.call("GET", "/v1/organisations").status_code == 200
    assert (stack.data / "run.json").stat().st_mode & 0o777 == 0o600


async def _log_in(mqtt: dict[str, Any], password: str) -> None:
    async with aiomqtt.Client(
        mqtt["host"], mqtt["port"], username=mqtt["username"], password=password, timeout=10
    ):
        pass


def _check_files(data: Path) -> None:
    """No secret is in a file that others can read."""
    kept = _kept(data)
    passwords = json.loads((data / "services" / "postgres" / "passwords.json").read_text())
    secrets = [value for name, value in (kept | passwords).items() if isinstance(value, str)]
    secrets.remove(kept["ingest_client_id"])
    assert len(secrets) >= 6
    holders = set()
    for path in data.rglob("*"):
        if path.is_file() and not path.is_relative_to(data / "services" / "postgres" / "data"):
            content = path.read_bytes()
            if any(secret.encode() in content for secret in secrets):
                holders.add(path.name)
                assert path.stat().st_mode & 0o077 == 0, path
    assert holders == {"secrets.json", "encryption-keys", "run.json", "passwords.json"}


def test_secrets_are_replaced_while_the_stack_runs(folder: Path) -> None:
    with _receiving() as (url, got):
        with started(folder, "--no-demo", "--roles", "api,deliver") as stack:
            stack.wait_ready()
            client = Client(stack, url, got)
            _replace_encryption_key(folder, client)
            _replace_admin_key(stack, client)
            # A role that starts again finds what was replaced meanwhile, and so do those who read run.json.
            before = stack.pids["deliver"]
            os.kill(before, signal.SIGKILL)
            until(lambda: stack.pids.get("deliver", before) != before, stack.said)
            client.check(client.webhook())
            gateway = stack.run["mqtt"]["password"]
            assert vigie(folder, "rotate", "--what", "broker").exit_code == 0
            asyncio.run(_log_in(stack.run["mqtt"], gateway))
            _check_files(folder)
        session = _kept(folder)["ingest_client_id"]
        assert vigie(folder, "status").exit_code == 2
        with started(folder, "--no-demo", "--roles", "ingest") as stack:
            stack.wait_ready()
            mqtt = stack.run["mqtt"]
            assert mqtt["password"] != gateway
            asyncio.run(_log_in(mqtt, mqtt["password"]))
            with pytest.raises(aiomqtt.MqttError):
                asyncio.run(_log_in(mqtt, gateway))
            until(lambda: '"mqtt_connected"' in (folder / "logs" / "ingest.log").read_text(), stack.said)
            # What the broker has queued is the session's, whose name has stayed.
            assert _kept(folder)["ingest_client_id"] == session
            assert vigie(folder, "status").exit_code == 0
