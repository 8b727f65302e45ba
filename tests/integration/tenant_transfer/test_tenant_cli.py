"""`vigie tenant …` as an administrator types it, and the archive's audit log by `vigie audit verify`."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from app.processes import audit_cli, tenant_cli
from tests.conftest import Tenant


def _run(*words: str | Path) -> Result:
    return CliRunner().invoke(tenant_cli.app, [str(word) for word in words])


@pytest.mark.usefixtures("settings", "site_id")
def test_a_tenant_moves_by_the_commands_of_the_guide(
    tenant: Tenant, second_url: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive, credentials = folder / "client.zip", folder / "credentials.csv"
    done = _run("export", "--organisation", tenant.id, "--to", archive)
    assert (done.exit_code, "rows of organisation" in done.stdout) == (0, True), done.output
    done = _run("verify", archive)
    assert (done.exit_code, "audit/log.ndjson: intact up to position" in done.stdout) == (0, True), (
        done.output
    )

    monkeypatch.setenv("VIGIE_DATABASE__URL", second_url)
    done = _run("import", archive, "--credentials", credentials, "--name", "Moved")
    assert (done.exit_code, f"organisation {tenant.id} imported" in done.stdout) == (0, True), done.output
    done = _run("import", archive, "--credentials", credentials)
    assert (done.exit_code, "nothing was changed" in done.stdout) == (0, True), done.output
    former = folder / "former.ndjson"
    done = _run("former-audit", "--organisation", tenant.id, "--out", former)
    assert done.exit_code == 0, done.output
    assert former.stat().st_mode & 0o777 == 0o600
    verified = CliRunner().invoke(audit_cli.app, ["verify", "--export", str(former)])
    assert (verified.exit_code, "nothing is wrong" in verified.stdout) == (0, True), verified.output
    last = json.loads(former.read_text().splitlines()[-1])
    assert last["organisation_id"] == tenant.id
    own = CliRunner().invoke(audit_cli.app, ["verify", "--organisation", tenant.id])
    assert (own.exit_code, "nothing is wrong" in own.stdout) == (0, True), own.output


@pytest.mark.usefixtures("settings")
def test_what_cannot_be_done_is_said_in_a_line(folder: Path) -> None:
    nobody = "01936f3d-0c2f-7a3b-9c4d-5e6f7a8b9c0d"
    done = _run("export", "--organisation", nobody, "--to", folder / "a.zip")
    assert (done.exit_code, done.stderr.startswith("vigie tenant: there is no organisation")) == (1, True)
    done = _run("verify", folder / "absent.zip")
    assert (done.exit_code, "is not an archive of a tenant: No such file" in done.stderr) == (1, True)
    done = _run("former-audit", "--organisation", nobody, "--out", folder / "b")
    assert (done.exit_code, "brought no log 1" in done.stderr) == (1, True)
