"""A real Alertmanager beside the test, with an account, and what it shows."""

import asyncio
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from app.standalone.free_ports import find_free_port

ACCOUNT = ("vigie", "correct horse")
# bcrypt of the password, at its least cost.
_HASH = "$2b$04$moD0DnL1D68Qc6OhklcF.OHdVvB/OQNM1rDpL.OTXp6NsxAo8c.hS"
_CONFIG = """
global:
  resolve_timeout: 1s
route:
  receiver: none
  group_wait: 0s
  group_interval: 1s
  group_by: [alertname, severity, box]
  routes:
    - matchers: [severity = "critical"]
      receiver: opsgenie
      continue: true
receivers:
  - name: none
  - name: opsgenie
    opsgenie_configs:
      - api_key: example
        api_url: {sink}
"""


@dataclass
class Alertmanager:
    """Where it is, and how it is asked.

    Attributes:
        url: Its address.
    """

    url: str

    async def alerts(self) -> list[dict[str, Any]]:
        """The alerts that it takes for active."""
        async with httpx.AsyncClient(auth=ACCOUNT) as client:
            answer = await client.get(f"{self.url}/api/v2/alerts")
        shown: list[dict[str, Any]] = answer.raise_for_status().json()
        return shown


def _configure(folder: Path, sink: str) -> tuple[Path, Path]:
    folder.mkdir(exist_ok=True)
    config, accounts = folder / "alertmanager.yml", folder / "web.yml"
    config.write_text(_CONFIG.format(sink=sink))
    accounts.write_text(f'basic_auth_users: {{{ACCOUNT[0]}: "{_HASH}"}}\n')
    return config, accounts


@asynccontextmanager
async def alertmanager(folder: Path, sink: str, port: int = 0) -> AsyncIterator[Alertmanager]:
    """Run one; what is critical it hands on to an Opsgenie at `sink`. It keeps nothing when it ends."""
    binary = shutil.which("prometheus-alertmanager")
    assert binary is not None, "prometheus-alertmanager is missing: sh deploy/install.sh --tests"
    config, accounts = await asyncio.to_thread(_configure, folder, sink)
    port = port or find_free_port()
    process = await asyncio.create_subprocess_exec(
        binary,
        f"--config.file={config}",
        f"--web.config.file={accounts}",
        f"--storage.path={folder / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
        "--cluster.listen-address=",
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    made = Alertmanager(f"http://127.0.0.1:{port}")
    try:
        async with asyncio.timeout(60):
            while True:
                with suppress(httpx.HTTPError):
                    await made.alerts()
                    break
                await asyncio.sleep(0.05)
        yield made
    finally:
        with suppress(ProcessLookupError):
            process.terminate()
        await process.wait()
