"""The calls of the API in the guides, run by bash and curl as they stand there, against a running API.

One world for all guides, in an order in which the guide of the API creates what others read.
"""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy import text
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.platform.db.database import Database
from app.standalone.free_ports import find_free_port
from app.standalone.private_mosquitto import PrivateMosquitto
from tests.conftest import ACCOUNTS
from tests.guide_commands import ROOT, list_commands
from tests.incidents import put_incident
from tests.integration.notifications.streams import serving
from tests.integration.people.conftest import _cheap_hashes
from tests.integration.people.folk import OrganisationPeople
from tests.integration.rules.backtesting import working
from tests.scenarios.processes import role, until

__all__ = ["_cheap_hashes"]
# Channels of mail need a mail server.
FIRST: Final = ("docs/email.md", "docs/api.md")
SITE: Final[dict[str, Any]] = {
    "name": "Rue de Metz",
    "kind": "street",
    "timezone": "Europe/Paris",
    "location": {"type": "Point", "coordinates": [1.4453, 43.6009]},
}
# As a shell of a reader: undefined variables are an error, and so is a part of a pipe.
PRELUDE: Final = "set -u -o pipefail\n"
_REFUSED: Final = 400
_TOO_MANY: Final = 429
PATIENCE_S: Final = 120


@dataclass
class RequestRecorder:
    """Records the status of each request that the API answers."""

    app: ASGIApp
    seen: list[tuple[str, int]] = field(default_factory=list)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def record(message: Message) -> None:
            if message["type"] == "http.response.start":
                self.seen.append((f"{scope['method']} {scope['path']}", message["status"]))
            await send(message)

        await self.app(scope, receive, record)


async def made(client: httpx.AsyncClient, path: str, body: dict[str, Any]) -> Any:  # noqa: ANN401 (JSON)
    return (await client.post(f"/v1/{path}", json=body)).raise_for_status().json()


@pytest.fixture(autouse=True)
def _enrolment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VIGIE_ENROLMENT__ENABLED", "true")


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A `PATH` with a `uv` that runs the programs of this environment."""
    folder = tmp_path_factory.mktemp("bin")
    shim = folder / "uv"
    shim.write_text(f'#!/bin/sh\n[ "$1" = run ] && shift\nexec "{Path(sys.executable).parent}/$@"\n')
    shim.chmod(0o755)
    return f"{folder}:{os.environ['PATH']}"


@pytest.fixture
async def world(
    _cheap_hashes: None, application: FastAPI, api: httpx.AsyncClient, database: Database, admin_key: str
) -> AsyncIterator[dict[str, str]]:
    """What the variables of the examples are."""
    site = (await made(api, "sites", SITE))["id"]
    box = await made(api, "boxes", {"id": "box-0001", "site_id": site})
    # The one of the pack in the guide to adapters.
    await made(api, "boxes", {"id": "0024befffe804ff1", "site_id": site})
    condition = {"metric": "pm2_5", "operator": ">", "threshold": 25, "clear": 20}
    body = {"site_id": site, "name": "Dust", "severity": "warning", "condition": condition}
    rule = (await made(api, "rules", body))["id"]
    now = datetime.now(UTC) - timedelta(seconds=5)
    samples = [{"seq": 1, "time": now.isoformat(), "values": {"pm2_5": 42, "laeq": 61}}]
    await made(api, "telemetry", {"box": "box-0001", "samples": samples})
    alert = (await api.get("/v1/alerts", params={"state": "firing"})).json()["data"][0]
    hook = await made(api, "webhooks", {"url": "http://127.0.0.1:9/hook"})
    organisation = (await made(api, "organisations", {"name": "Ville"}))["id"]
    claim = await made(api, "claims", {"site_id": site, "name": "Tour", "boxes": 9, "expires_in": "P1D"})
    async with OrganisationPeople(application, api, hook["organisation_id"]) as folk:
        owner = await folk.join("Grace", "owner")
        member = await folk.join("Bob", "operator")
        # The guide to people has her sign in, and invites her elsewhere.
        invitation = await folk.invite("ada.lovelace@example.com", "owner", organisation)
        body = {"token": invitation, "name": "Ada Lovelace", "password": "quatre vaches sous la pluie"}
        accepted = await api.post("/v1/invitations/accept", json=body, headers={"Authorization": ""})
        accepted.raise_for_status()
        yield {
            "AUTH": f"Authorization: Bearer {admin_key}",
            "KEY": admin_key,
            "JSON": "Content-Type: application/json",
            "SITE": site,
            "PASSWORD": box["credentials"]["password"],
            "RULE": rule,
            "ALERT": alert["id"],
            "WEBHOOK": hook["id"],
            "SECRET": hook["secret"],
            "ORG": organisation,
            "ORGANISATION": organisation,
            "CLIENT": organisation,
            "CODE": claim["code"],
            "INCIDENT": await put_incident(database, site),
            "TOKEN": owner.token,
            "MEMBER": member.member_id,
        }


def read_json_block(path: str, name: str) -> str:
    """The JSON of the file that a guide names before it shows it."""
    text = (ROOT / path).read_text(encoding="utf-8").partition(name)
    before = text[0].rpartition("```json\n")[2]
    return before.partition("```")[0]


async def run(text: str, folder: Path, variables: dict[str, str]) -> tuple[int, str]:
    process = await asyncio.create_subprocess_exec(
        *("bash", "-c", PRELUDE + text),
        cwd=folder,
        env={"HOME": str(folder), "LC_ALL": "C.UTF-8", **variables},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        output, _ = await asyncio.wait_for(process.communicate(), PATIENCE_S)
    except TimeoutError:
        process.kill()
        await process.wait()
        return -1, "did not end"
    return process.returncode or 0, output.decode(errors="replace")


async def run_patiently(
    text: str, folder: Path, variables: dict[str, str], recorder: RequestRecorder
) -> tuple[int, str]:
    """Run a block, and again after a second if the API says 429: an export before it may still end."""
    for _ in range(5):
        recorder.seen.clear()
        result = await run(text, folder, variables)
        if _TOO_MANY not in {code for _, code in recorder.seen}:
            break
        await asyncio.sleep(1)
    return result


@asynccontextmanager
async def recorded(application: FastAPI) -> AsyncIterator[tuple[str, RequestRecorder]]:
    assert application.middleware_stack is not None
    recorder = RequestRecorder(application.middleware_stack)
    application.middleware_stack = recorder
    async with serving(application) as url:
        yield url, recorder
    application.middleware_stack = recorder.app


@pytest.mark.timeout(300)
async def test_calls_of_the_guides(
    *, application: FastAPI, database: Database, world: dict[str, str], programs: str, tmp_path: Path
) -> None:
    blocks = [each for each in list_commands() if each.calls_the_api and not each.mark]
    assert len(blocks) > 50
    blocks.sort(key=lambda each: FIRST.index(each.path) if each.path in FIRST else len(FIRST))
    (tmp_path / "pack.json").write_text(read_json_block("docs/adapters.md", "pack.json"))
    faults = []
    # Calls that wait for a back-test would wait in vain.
    async with working(database, pause_s=0.1), recorded(application) as (url, recorder):
        for block in blocks:
            status, output = await run_patiently(
                block.text, tmp_path, {"API": url, "PATH": programs, **world}, recorder
            )
            refused = [
                seen for seen in recorder.seen if seen[1] >= _REFUSED and seen[1] not in block.refusals
            ]
            if status != 0 or refused or not recorder.seen:
                faults.append(f"{block.name}: exit {status}, {refused}\n{output[-600:]}")
            unseen = block.refusals - {code for _, code in recorder.seen}
            if unseen:
                faults.append(f"{block.name}: says {unseen}, which no call answered")
    assert not faults, "\n\n".join(faults)


def block_of(path: str, beginning: str) -> str:
    (text,) = [each.text for each in list_commands() if each.path == path and each.text.startswith(beginning)]
    return text


# `ask PATH TEXT`: whether an answer of the API has a text.
_ASK: Final = """ask() { curl -sS "$API/v1/$1" -H "$AUTH" | grep -q "$2"; }\n"""


async def consumes(database: Database) -> bool:
    """Whether the consumer's session exists: what is published before it, no broker keeps."""
    query = text("SELECT EXISTS (SELECT FROM heartbeats WHERE role = 'ingest' AND state = 'consuming')")
    async with database.read() as session:
        return bool((await session.execute(query)).scalar_one())


async def test_the_main_job_of_the_readme(
    *,
    application: FastAPI,
    database: Database,
    admin_key: str,
    mosquitto: PrivateMosquitto,
    programs: str,
    tmp_path: Path,
) -> None:
    """Site, box, rule, webhook, samples by MQTT, and the alert: with the roles of a running stack."""
    run_file = {"mqtt": {"port": mosquitto.port}, "admin_key": admin_key}
    port = find_free_port()
    job = block_of("README.md", "# 1. A site.").replace("9000", str(port))
    # A reader's machine needs a second or three; this one waits for what they are for.
    for pause, awaited in (
        ("& sleep 3\n", f"&\nuntil (: < /dev/tcp/127.0.0.1/{port}) 2> /dev/null; do sleep 0.1; done\n"),
        ("; sleep 1\n", "\nuntil ask 'alerts?state=firing' box-0001; do sleep 0.1; done\n"),
    ):
        assert job.count(pause) == 1
        job = job.replace(pause, awaited)
    commands = (
        f"{block_of('README.md', 'RUN=')}{_ASK}{job}\n"
        "HOOK=$(curl -sS $API/v1/webhooks -H \"$AUTH\" | jq -r '.data[0].id')\n"
        'until ask webhooks/$HOOK/deliveries \'"state":"delivered"\'; do sleep 0.1; done; kill %1; wait'
    )
    async with (
        serving(application) as url,
        role("ingest", tmp_path),
        role("deliver", tmp_path),
    ):
        await until(lambda: consumes(database))
        (tmp_path / ".vigie").mkdir()
        (tmp_path / ".vigie/run.json").write_text(json.dumps({**run_file, "api": url}))
        status, output = await run(commands, tmp_path, {"PATH": programs})
    assert status in {0, 143}, output
    assert '"pm2_5":42.4' in output
    assert '"value":42.4' in output
    assert "webhook verified" in output
    assert "alert.firing warning box-0001 pm2_5 42.4" in output


async def test_the_counters_of_the_broker(mosquitto: PrivateMosquitto, tmp_path: Path) -> None:
    variables = {"PATH": os.environ["PATH"], "PORT": str(mosquitto.port), "PASSWORD": ACCOUNTS["ingest"]}
    status, output = await run(
        block_of("docs/operations/troubleshooting.md", "mosquitto_sub"), tmp_path, variables
    )
    assert status == 0, output
    assert all(line.isdigit() for line in output.split())
    assert len(output.split()) == 2
