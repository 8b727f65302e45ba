"""Patroni and etcd with the shipped files: who may change the cluster, and who may speak to etcd."""

import os
import re
import shutil
import ssl
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
import trustme

from app.server_installation.deploy_files import render_deploy_file
from app.standalone.child_process import ChildProcess
from app.standalone.unprivileged_accounts import build_run_as_command, find_program, find_service_account
from tests.scenarios.processes import until
from tools.rehearsals.patroni_cluster import DatabaseHost, PatroniCluster

HOST = "127.0.0.1"
# A line that an administrator uncomments: a comment has a space after its mark.
UNCOMMENTED = re.compile(r"^( *)#(?=[a-z]| {2}[a-z])", re.MULTILINE)


@pytest.fixture
def shared_folder() -> Iterator[Path]:
    """A folder that the account of PostgreSQL can reach."""
    with tempfile.TemporaryDirectory(prefix="vigie-patroni-") as name:
        Path(name).chmod(0o755)
        yield Path(name)


@asynccontextmanager
async def one_host(folder: Path) -> AsyncIterator[tuple[PatroniCluster, DatabaseHost]]:
    """A cluster with the files of one host, which does not run yet."""
    cluster = PatroniCluster(folder / "cluster")
    host = next(iter(cluster.hosts.values()))
    cluster.hosts = {host.name: host}
    cluster._write_files(host)
    try:
        yield cluster, host
    finally:
        await cluster.stop(host)


async def wait_for_primary(host: DatabaseHost) -> None:
    async with httpx.AsyncClient() as client:

        async def answers() -> bool:
            try:
                return (await client.get(f"http://{HOST}:{host.api_port}/primary")).status_code == 200
            except httpx.HTTPError:
                return False

        assert await until(answers, patience_s=90), (host.folder / "patroni.log").read_text()


async def test_only_the_account_may_change_the_cluster(shared_folder: Path) -> None:
    async with one_host(shared_folder) as (cluster, host):
        await cluster.start(host)
        await wait_for_primary(host)
        async with httpx.AsyncClient(base_url=f"http://{HOST}:{host.api_port}") as client:
            assert (await client.get("/cluster")).status_code == 200
            account = ("vigie", cluster.rest_password)
            assert (await client.post("/reload")).status_code == 401
            assert (await client.post("/reload", auth=("vigie", "wrong"))).status_code == 401
            assert (await client.post("/reload", auth=account)).status_code == 202
            assert (await client.patch("/config", json={"ttl": 21})).status_code == 401
            assert (await client.get("/config")).json()["ttl"] == 20


def issue(folder: Path, authority: trustme.CA) -> None:
    leaf = authority.issue_cert(HOST)
    authority.cert_pem.write_to_path(str(folder / "ca.pem"))
    leaf.private_key_pem.write_to_path(str(folder / "key.pem"))
    leaf.cert_chain_pems[0].write_to_path(str(folder / "certificate.pem"))


def write_etcd(host: DatabaseHost) -> Path:
    """Write the shipped file for the only member, with certificates."""
    text = render_deploy_file(
        "ha/etcd.yml",
        name=host.name,
        data=host.folder / "etcd",
        host=HOST,
        members=f"{host.name}=http://{HOST}:{host.peer_port}",
    )
    text = UNCOMMENTED.sub(r"\1", text).replace("/etc/etcd/", f"{host.folder}/").replace("http:", "https:")
    text = text.replace(":2379", f":{host.client_port}").replace(":2380", f":{host.peer_port}")
    path = host.folder / "etcd.yml"
    path.write_text(text)
    return path


async def test_etcd_admits_certificates_only(shared_folder: Path) -> None:
    account, authority = find_service_account("postgres"), trustme.CA()
    async with one_host(shared_folder) as (cluster, host):
        issue(host.folder, authority)
        config, patroni = write_etcd(host), host.folder / "patroni.yml"
        text = UNCOMMENTED.sub(r"\1", patroni.read_text())
        patroni.write_text(text.replace("/etc/etcd/", f"{host.folder}/"))
        if account is not None:
            for path in host.folder.iterdir():
                os.chown(path, account.uid, account.gid)
        await cluster.start(host)
        # In place of the one that `start` began, which takes no file.
        await host.processes.pop("etcd").stop()
        shutil.rmtree(host.folder / "etcd", ignore_errors=True)
        words = [str(find_program("etcd")), "--config-file", str(config)]
        host.processes["etcd"] = await ChildProcess.start(
            build_run_as_command(account, words),
            environment={"PATH": "/usr/bin:/bin"},
            log=host.folder / "log",
        )
        await wait_for_primary(host)
        url = f"https://{HOST}:{host.client_port}/v2/keys/service/vigie/leader"
        context = ssl.create_default_context(cafile=str(host.folder / "ca.pem"))
        async with httpx.AsyncClient(verify=context) as stranger:
            with pytest.raises(ssl.SSLError, match=r"(?i)certificate.required"):
                await stranger.get(url)
        context.load_cert_chain(host.folder / "certificate.pem", host.folder / "key.pem")
        async with httpx.AsyncClient(verify=context) as member:
            assert (await member.get(url)).json()["node"]["value"] == host.name
        async with httpx.AsyncClient() as plain:
            with pytest.raises(httpx.HTTPError):
                (await plain.get(url.replace("https:", "http:"))).raise_for_status()
