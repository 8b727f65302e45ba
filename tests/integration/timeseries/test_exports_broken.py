"""Exports that do not end well: clients that go away or read nothing, and failures after the first byte."""

import asyncio
import contextlib
import socket
import time
from collections.abc import AsyncIterator
from urllib.parse import urlencode

import asyncpg
import httpx
import psutil
import pyarrow as pa
import pytest
from fastapi import FastAPI
from sqlalchemy import QueuePool

from app.platform.db.database import Database
from app.platform.http.fairness import fair_semaphore
from app.platform.http.fairness.fair_semaphore import ExportLimits
from app.platform.kernel.application_resources import get_resource
from app.timeseries.exports import router, row_slice_reader
from tests.conftest import Tenant
from tests.integration.notifications.streams import serving
from tests.integration.timeseries.exported import PATH, SPAN, export, fill

BOX = "box-1"
ROWS = 1_000


@pytest.fixture
async def url(
    application: FastAPI, tenant: Tenant, site_id: str, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[str]:
    """A server with something to export, which takes its time: a slice each fiftieth of a second."""
    (await tenant.client.post("/v1/boxes", json={"id": BOX, "site_id": site_id})).raise_for_status()
    await fill(database_url, BOX, ROWS)
    monkeypatch.setattr(row_slice_reader, "ROWS", 50)
    monkeypatch.setattr(row_slice_reader, "_IDLE_RATIO", 1e9)
    monkeypatch.setattr(fair_semaphore, "_LONGEST_REST_S", 0.02)
    async with serving(application, patience_s=0.5) as address:
        yield address


async def freed(application: FastAPI, patience_s: float = 60.0) -> None:
    """Wait until no export has a place, a child process or a connection."""
    turns = get_resource(application, ExportLimits)
    pool = get_resource(application, Database).engine.pool
    assert isinstance(pool, QueuePool)
    deadline = time.monotonic() + patience_s
    while turns._exporting or children() or pool.checkedout():
        assert time.monotonic() < deadline, "the export goes on"
        await asyncio.sleep(0.01)


def children() -> list[psutil.Process]:
    """Those that write columns."""
    found = []
    for child in psutil.Process().children():
        try:
            if any("columnar_process" in word for word in child.cmdline()):
                found.append(child)
        except psutil.NoSuchProcess:
            continue
    return found


async def test_who_goes_away_leaves_nothing_behind(
    application: FastAPI, tenant: Tenant, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    headers = {"Authorization": f"Bearer {tenant.key}"}
    async with httpx.AsyncClient(base_url=url, headers=headers) as client:
        for format_ in ("csv", "parquet", "arrow"):
            async with client.stream("GET", PATH, params={**SPAN, "format": format_}) as answer:
                assert answer.status_code == 200
                await anext(answer.aiter_raw())
                assert get_resource(application, ExportLimits)._exporting
                assert len(children()) == (format_ != "csv")
            await freed(application)
        # HEAD is answered, and reads no file for nobody: that would take 20 s.
        monkeypatch.setattr(fair_semaphore, "_LONGEST_REST_S", 1.0)
        answer = await client.head(PATH, params=SPAN)
        assert (answer.status_code, answer.content) == (200, b"")
        await freed(application, 10.0)


async def test_an_export_may_follow_another_at_once(
    tenant: Tenant, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(row_slice_reader, "ROWS", 5_000)
    async with httpx.AsyncClient(base_url=url, headers=tenant.client.headers) as client:
        for format_ in ("parquet", "parquet", "arrow", "csv", "parquet"):
            answer = await client.get(PATH, params={**SPAN, "format": format_})
            assert answer.status_code == 200, (format_, answer.text)


async def test_who_reads_nothing_is_cut_off_and_holds_no_connection(
    application: FastAPI, tenant: Tenant, url: str, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # More than the machine's own buffers take.
    await fill(database_url, BOX, 40_000, first=ROWS + 1)
    monkeypatch.setattr(row_slice_reader, "ROWS", 5_000)
    monkeypatch.setattr(row_slice_reader, "_IDLE_RATIO", 0.0)
    port = httpx.URL(url).port
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        client.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(client, ("127.0.0.1", port))
        head = f"GET {PATH}?{urlencode({**SPAN, 'format': 'geojson'})} HTTP/1.1\r\nHost: x\r\n"
        await loop.sock_sendall(client, f"{head}Authorization: Bearer {tenant.key}\r\n\r\n".encode())
        assert await loop.sock_recv(client, 12) == b"HTTP/1.1 200"
        await freed(application)
        # It was cut: what is left to read has no end.
        rest = b""
        with contextlib.suppress(ConnectionResetError):
            while piece := await loop.sock_recv(client, 65_536):
                rest = (rest + piece)[-5:]
        assert rest != b"0\r\n\r\n"


async def test_a_failure_after_the_first_byte_is_seen(
    application: FastAPI, tenant: Tenant, url: str, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    headers = {"Authorization": f"Bearer {tenant.key}"}
    whole = len((await export(tenant.client)).content)
    owner = await asyncpg.connect(database_url)
    # Seconds for a whole file: none ends before it is broken.
    monkeypatch.setattr(fair_semaphore, "_LONGEST_REST_S", 0.15)
    async with httpx.AsyncClient(base_url=url, headers=headers) as client:

        async def broken(format_: str, *, child: bool = False, key: bool = False) -> int:
            """Break an export once its first bytes are there; gives how many came."""
            came = 0
            with pytest.raises(httpx.RemoteProtocolError, match="incomplete chunked read"):  # noqa: PT012
                async with client.stream("GET", PATH, params={**SPAN, "format": format_}) as answer:
                    assert answer.status_code == 200
                    async for chunk in answer.aiter_raw():
                        if not came and child:
                            children()[0].kill()
                        elif not came and key:
                            (mine,) = (await tenant.client.get("/v1/api-keys")).json()["data"]
                            await tenant.client.delete(f"/v1/api-keys/{mine['id']}")
                        elif not came:
                            await owner.execute("ALTER VIEW tenant_samples RENAME TO gone")
                        came += len(chunk)
            await freed(application)
            return came

        async def cut(format_: str) -> bytes:
            """Break an export, and return what came of it."""
            came = b""
            with contextlib.suppress(httpx.RemoteProtocolError):
                async with client.stream("GET", PATH, params={**SPAN, "format": format_}) as answer:
                    async for chunk in answer.aiter_raw():
                        if not came:
                            await owner.execute("ALTER VIEW tenant_samples RENAME TO gone")
                        came += chunk
            return came

        try:
            for format_ in ("csv", "ndjson", "geojson"):
                assert 0 < await broken(format_) < whole * 4
                await owner.execute("ALTER VIEW gone RENAME TO tenant_samples")
            await broken("parquet", child=True)
            # Its messages that came are whole: what follows them tells readers that there is no end.
            with pytest.raises(pa.ArrowInvalid):
                pa.ipc.open_stream(await cut("arrow")).read_all()
            await owner.execute("ALTER VIEW gone RENAME TO tenant_samples")
            # A key that was revoked does not read on.
            with monkeypatch.context() as at_once:
                at_once.setattr(fair_semaphore, "_LONGEST_REST_S", 0.0)
                assert len((await client.get(PATH, params=SPAN)).content) == whole
            monkeypatch.setattr(router, "_REFRESH_S", 0.0)
            assert 0 < await broken("csv", key=True) < whole
        finally:
            await owner.close()


async def test_http_1_0_is_refused_where_a_cut_file_would_look_whole(tenant: Tenant, url: str) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", httpx.URL(url).port)
    writer.write(f"GET {PATH} HTTP/1.0\r\nAuthorization: Bearer {tenant.key}\r\n\r\n".encode())
    answer = (await reader.read()).decode()
    writer.close()
    assert answer.splitlines()[0].endswith("400 Bad Request")
    assert '"code":"http_version_too_old"' in answer
