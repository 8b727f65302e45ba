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
from pathlib import Path

import pytest

from app.core.settings import Settings
from tests.conftest import Tenant
from tests.scenarios.processes import serving

ROOT = Path(__file__).parents[3]
CONFIG = Path(__file__).parent / "schemathesis.toml"
SEED = os.environ.get("VIGIE_FUZZ_SEED", "20261126")


@pytest.fixture
async def url(settings: Settings, tmp_path: Path) -> AsyncIterator[str]:
    """The API as a process, where boxes may register themselves too, and nobody asks too often."""
    assert settings.bootstrap_admin_key is not None
    unlimited = dict.fromkeys(map("VIGIE_API__{}RATE_PER_S".format, ("", "ANONYMOUS_", "TELEMETRY_")), "0")
    async with serving(tmp_path, VIGIE_ENROLMENT__ENABLED="true", **unlimited) as address:
        yield address


@pytest.fixture
def keys(tenant: Tenant, other_tenant: Tenant, tmp_path: Path) -> Path:
    """The two tenants' keys, in the form that schemathesis reads."""
    peers = [("one", tenant), ("other", other_tenant)]
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
    assert process.returncode == 0, f"seed {SEED}\n{report[-20_000:]}"
    return report


@pytest.mark.parametrize(
    "options",
    [
        # Enough to send each call what its schema allows and what it forbids.
        pytest.param(("--phases", "examples,fuzzing", "--max-examples", "1"), id="each call"),
        pytest.param(("--phases", "stateful", "--max-examples", "6"), id="sequences of calls"),
    ],
)
async def test_in_short(url: str, keys: Path, options: tuple[str, ...]) -> None:
    report = await fuzz(url, keys, *options, patience_s=110)
    assert f"Seed: {SEED}" in report


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
