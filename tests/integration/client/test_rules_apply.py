"""`vigie rules apply` and `vigie rules export` against a real API."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from app.client.api_connection import ApiConnection
from app.client.client_errors import ChangedMeanwhileError
from app.client.profiles import Profile
from app.client.rule_files import read_rule_files
from app.client.rule_plan import RulePlanner, apply_plan
from app.rules.definitions.rule_examples import EXAMPLES
from tests.conftest import STREET, Tenant
from tests.integration.client.conftest import RunVigie

RULES = """\
site: Rue d'Alsace-Lorraine
rules:
  - name: Fine particles
    severity: warning
    condition: {metric: pm2_5, operator: ">", threshold: 25, clear: 20, for: PT10M}
  - name: Noise of the night
    severity: info
    condition:
      metric: laeq
      operator: ">"
      threshold: 55
      function: energy_mean
      window: PT1H
    active: [{from: 23:00, to: 06:00}]
"""


def rewrite(file: Path, text: str) -> None:
    file.write_text(text)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "rules.yaml"
    path.write_text(RULES)
    return path


async def list_rules(tenant: Tenant) -> dict[str, Any]:
    answer = (await tenant.client.get("/v1/rules")).raise_for_status().json()
    return {rule["name"]: rule for rule in answer["data"]}


@pytest.mark.usefixtures("site_id")
async def test_a_second_run_changes_nothing(vigie: RunVigie, tenant: Tenant, file: Path) -> None:
    dry = await vigie("rules", "apply", "-f", str(file), "--dry-run")
    assert "+ create 'Fine particles'" in dry.stdout
    assert dry.stdout.endswith("Plan: 2 to create, 0 to change, 0 to delete, 0 unchanged.\n")
    assert await list_rules(tenant) == {}

    first = await vigie("rules", "apply", "-f", str(file))
    assert first.stdout.endswith("Done: 2 created, 0 changed, 0 deleted.\n")
    made = await list_rules(tenant)
    assert made["Noise of the night"]["active"][0]["from"] == "23:00"

    second = await vigie("rules", "apply", "-f", str(file))
    assert second.stdout.endswith("Plan: 0 to create, 0 to change, 0 to delete, 2 unchanged.\n")
    assert await list_rules(tenant) == made

    rewrite(
        file, RULES.replace("threshold: 25", "threshold: 30").replace("severity: info", "severity: warning")
    )
    third = await vigie("rules", "apply", "-f", str(file))
    assert "-  threshold: 25" in third.stdout
    assert "+  threshold: 30" in third.stdout
    assert third.stdout.endswith("Done: 0 created, 2 changed, 0 deleted.\n")
    changed = await list_rules(tenant)
    assert changed["Fine particles"]["condition"]["threshold"] == 30
    assert {rule["version"] for rule in changed.values()} == {2}


async def test_only_prune_deletes(vigie: RunVigie, tenant: Tenant, site_id: str, file: Path) -> None:
    other = {"name": "By hand", "severity": "info", "condition": {"no_data": "PT15M"}, "site_id": site_id}
    elsewhere = (await tenant.client.post("/v1/sites", json=STREET | {"name": "Elsewhere"})).json()["id"]
    for site in (site_id, elsewhere):
        (await tenant.client.post("/v1/rules", json=other | {"site_id": site})).raise_for_status()
    await vigie("rules", "apply", "-f", str(file))
    assert "By hand" in await list_rules(tenant)
    done = await vigie("rules", "apply", "-f", str(file), "--prune")
    assert done.stdout.endswith("Done: 0 created, 0 changed, 1 deleted.\n")
    left = (await tenant.client.get("/v1/rules")).json()["data"]
    assert sorted(rule["name"] for rule in left) == ["By hand", "Fine particles", "Noise of the night"]
    assert next(rule for rule in left if rule["name"] == "By hand")["site_id"] == elsewhere


async def test_a_concurrent_change_is_not_overwritten(
    url: str, vigie: RunVigie, tenant: Tenant, site_id: str, file: Path
) -> None:
    await vigie("rules", "apply", "-f", str(file))
    rule = (await list_rules(tenant))["Fine particles"]
    rewrite(
        file,
        RULES.replace("threshold: 25", "threshold: 30") + "  - {name: New, severity: info, "
        "condition: {no_data: PT1H}}\n",
    )
    with ApiConnection(Profile(url, tenant.key)) as api:
        plans = await asyncio.to_thread(lambda: RulePlanner(api, prune=True).plan(read_rule_files([file])))
        path = f"/v1/rules/{rule['id']}"
        (await tenant.client.patch(path, json={"description": "Close the windows"})).raise_for_status()
        with pytest.raises(ChangedMeanwhileError, match="Fine particles"):
            await asyncio.to_thread(apply_plan, api, plans, lambda _: None)
    now = await list_rules(tenant)
    assert (now["Fine particles"]["condition"]["threshold"], now["Fine particles"]["version"]) == (25, 2)
    assert now["New"]["site_id"] == site_id


@pytest.mark.usefixtures("site_id")
async def test_faults_name_file_and_line_and_nothing_changes(
    vigie: RunVigie, tenant: Tenant, file: Path
) -> None:
    rewrite(
        file,
        RULES.replace("clear: 20", "clear: 40").replace("threshold: 55", "threshold: loud")
        + "  - name: Noise of the night\n---\nsite: Nowhere\nrules: []\n",
    )
    refused = await vigie("rules", "apply", "-f", str(file), code=4)
    lines = refused.stderr.removeprefix("vigie: ").splitlines()
    places = sorted(int(line.removeprefix(f"{file}:").partition(":")[0]) for line in lines)
    assert places == [5, 11, 15, 17], lines
    assert "There is no site 'Nowhere'" in refused.stderr
    assert await list_rules(tenant) == {}


async def test_an_export_can_be_applied(
    vigie: RunVigie, tenant: Tenant, site_id: str, tmp_path: Path
) -> None:
    """All kinds of rules come back as they were."""
    boxes = ("street-1", "box-0001")
    for box in boxes:
        (await tenant.client.post("/v1/boxes", json={"id": box, "site_id": site_id})).raise_for_status()
    for number, (kind, example) in enumerate(EXAMPLES.items()):
        body = example["value"] | {
            "site_id": site_id,
            "name": f"Rule {number}: yes" if kind != "boxes" else "Boxes",
        }
        (await tenant.client.post("/v1/rules", json=body)).raise_for_status()
    before = await list_rules(tenant)
    assert len(before) > 5
    folder = tmp_path / "rules"
    folder.mkdir()
    await vigie("rules", "export", "-o", str(folder))
    assert [path.name for path in folder.iterdir()] == ["rue-d-alsace-lorraine.yaml"]
    applied = await vigie("rules", "apply", "-f", str(folder), "--prune")
    assert applied.stdout.endswith(f"0 to create, 0 to change, 0 to delete, {len(before)} unchanged.\n")

    # Onto another site: the same rules, but for one that names a box.
    printed = await vigie("rules", "export", "--site", site_id)
    other = (await tenant.client.post("/v1/sites", json=STREET | {"name": "Copy"})).json()["id"]
    copy = tmp_path / "copy.yaml"
    rewrite(copy, printed.stdout.replace(site_id, "Copy"))
    refused = await vigie("rules", "apply", "-f", str(copy), code=4)
    assert "rule 'Boxes': condition.all.1.box: the site" in refused.stderr
    (await tenant.client.delete(f"/v1/rules/{before.pop('Boxes')['id']}")).raise_for_status()
    printed = await vigie("rules", "export", "--site", site_id)
    rewrite(copy, printed.stdout.replace(site_id, "Copy"))
    await vigie("rules", "apply", "-f", str(copy))
    copied = (await tenant.client.get("/v1/rules", params={"site": other})).json()["data"]
    assert {rule["name"]: rule["condition"] for rule in copied} == {
        name: rule["condition"] for name, rule in before.items()
    }
