"""schemathesis over the whole OpenAPI document, on a live stack, as two tenants.

All checks are on: no server error, documented statuses, headers and shapes, refusal of what the schemas do
not allow, acceptance of what they do, authentication, and that neither tenant is shown what the other made.
What is told apart stands in `schemathesis.toml` and `fuzz_hooks.py`. The short form is bounded in time; `make
fuzz` runs the long one. Both print their seed: `VIGIE_FUZZ_SEED` plays it again.
"""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from app.settings import VigieSettings
from tests.conftest import Tenant
from tests.scenarios.processes import serving

ROOT = Path(__file__).parents[3]
CONFIG = Path(__file__).parent / "schemathesis.toml"
UNLIMITED = {
    f"VIGIE_API__{whose}RATE_PER_S": "0"
    for whose in ("", "ANONYMOUS_", "TELEMETRY_", "ORGANISATION_", "ORGANISATION_TELEMETRY_")
}
SEED = os.environ.get("VIGIE_FUZZ_SEED", "20261126")


@pytest.fixture
async def url(settings: VigieSettings, tmp_path: Path) -> AsyncIterator[str]:
    """The API as a process, where boxes may register themselves too, and nobody asks too often."""
    assert settings.bootstrap_admin_key is not None
    async with serving(tmp_path, VIGIE_ENROLMENT__ENABLED="true", **UNLIMITED) as address:
        yield address


@pytest.fixture
async def keys(tenant: Tenant, other_tenant: Tenant, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The two tenants' keys, as schemathesis reads them. Each tenant has a site with a box that measures."""
    peers = [("one", tenant), ("other", other_tenant)]
    for name, peer in peers:
        place = {"timezone": "Europe/Paris", "location": {"type": "Point", "coordinates": [1.44, 43.6]}}
        site = await peer.client.post("/v1/sites", json={"name": name, "kind": "street", **place})
        box = {"id": f"of-{name}", "site_id": site.raise_for_status().json()["id"]}
        (await peer.client.post("/v1/boxes", json=box)).raise_for_status()
        sample = {"time": datetime.now(UTC).isoformat(), "values": {"pm2_5": 31.2}}
        telemetry = {"box": box["id"], "samples": [sample]}
        (await peer.client.post("/v1/telemetry", json=telemetry)).raise_for_status()
    monkeypatch.setenv("VIGIE_FUZZ_OWNERS", json.dumps({name: peer.id for name, peer in peers}))
    entries = [
        {"name": name, "fixedHeaders": [{"name": "Authorization", "value": f"Bearer {peer.key}"}]}
        for name, peer in peers
    ]
    path = tmp_path / "keys.json"
    path.write_text(json.dumps({"auth": entries}))
    return path


async def fuzz(url: str, keys: Path, *options: str, patience_s: float) -> str:
    """Run schemathesis, which must find nothing. Gives its report."""
    arguments = ("--config-file", CONFIG, "run", f"{url}/openapi.json", "--no-color", "--seed", SEED)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "schemathesis.cli", *map(str, arguments), *options),
        cwd=ROOT,
        env={**os.environ, "VIGIE_FUZZ_KEYS": str(keys), "PYTHONPATH": str(ROOT)},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        async with asyncio.timeout(patience_s):
            output, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    report = output.decode()
    # Many warnings follow the failures.
    failures = max(report.find(" FAILURES "), 0)
    assert process.returncode == 0, f"seed {SEED}\n{report[failures : failures + 20_000]}"
    return report


@pytest.mark.timeout(460)
async def test_in_short(url: str, keys: Path) -> None:
    """Each call is sent what its schema allows and what it forbids, and one call follows from another.

    `test_examples.py` sends the examples of the document; `make fuzz` also combines them.
    """
    phases = ("--phases", "fuzzing,stateful")
    report = await fuzz(url, keys, *phases, "--max-examples", "1", patience_s=440)
    assert f"Seed: {SEED}" in report


# An API that says of everybody that they reach everything, to its own filters and to the database.
_LEAK = """
import app.platform.identity.caller_authentication
from app.platform.kernel.tenant_scope import FULL_SCOPE
app.platform.identity.caller_authentication.resolve_tenant_scope = lambda *_, **__: FULL_SCOPE
"""


@pytest.mark.slow
@pytest.mark.timeout(300)
async def test_it_finds_a_tenant_that_sees_another(
    settings: VigieSettings, keys: Path, tmp_path: Path
) -> None:
    assert settings.bootstrap_admin_key is not None
    (tmp_path / "sitecustomize.py").write_text(_LEAK)
    async with serving(tmp_path, PYTHONPATH=f"{tmp_path}{os.pathsep}{ROOT}", **UNLIMITED) as address:
        with pytest.raises(AssertionError, match="was shown what belongs to"):
            await fuzz(address, keys, "--phases", "fuzzing", "--max-examples", "1", patience_s=250)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize(
    "options",
    [
        # Each in a process of its own, which gives its memory back.
        pytest.param(("--phases", "examples,coverage"), id="examples and edges"),
        pytest.param(("--phases", "fuzzing", "--max-examples", "40"), id="each call"),
        pytest.param(("--phases", "stateful", "--max-examples", "200"), id="sequences of calls"),
    ],
)
async def test_at_length(url: str, keys: Path, options: tuple[str, ...]) -> None:
    report = await fuzz(url, keys, *options, patience_s=3500)
    print(report[-3000:])  # noqa: T201 (how much was tried, with the seed)
    assert f"Seed: {SEED}" in report
