"""Each change of a rule is written down, and says which alerts it closes."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import httpx
import pytest

from app.platform.db.database import Database, WriteSession
from app.platform.identity.caller_authentication import Principal
from app.platform.kernel.ids import new_id
from app.platform.kernel.tenant_scope import TenantScope
from app.rules.definitions import service
from app.rules.definitions.schemas import RuleChange, RuleCreate
from tests.conftest import Tenant

PM: dict[str, Any] = {"metric": "pm2_5", "operator": ">", "threshold": 25}
LEVELS = [
    {"severity": "info", "condition": PM},
    {"severity": "critical", "condition": {**PM, "threshold": 50}},
]
SINGLE: dict[str, Any] = {"severity": "info", "condition": PM}


async def make(tenant: Tenant, site_id: str, fields: Mapping[str, Any]) -> dict[str, Any]:
    answer = await tenant.client.post("/v1/rules", json={"site_id": site_id, "name": "r", **fields})
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


async def test_versions_say_what_a_rule_was_and_who_changed_it(
    api: httpx.AsyncClient, tenant: Tenant, site_id: str
) -> None:
    made = await make(tenant, site_id, SINGLE)
    path = f"/v1/rules/{made['id']}"
    key = await api.post("/v1/api-keys", json={"organisation_id": tenant.id, "name": "k", "scopes": ["*"]})
    other = {"Authorization": f"Bearer {key.json()['key']}"}
    await tenant.client.patch(path, json={"name": "r", "severity": "info"})  # no change
    await tenant.client.patch(path, json={"description": "Open the windows"}, headers=other)
    await tenant.client.patch(path, json={"levels": LEVELS, "scope": {"tags": ["school"]}})
    await tenant.client.delete(path, headers=other)
    versions = (await tenant.client.get(f"{path}/versions")).json()
    assert versions["next"] is None
    newest = versions["data"]
    assert [(each["version"], each["deleted"]) for each in newest] == [
        (4, True),
        (3, False),
        (2, False),
        (1, False),
    ]
    own = newest[3]["created_by"]
    assert own is not None
    assert [each["created_by"] for each in newest] == [key.json()["id"], own, key.json()["id"], own]
    name = (await tenant.client.get(f"/v1/api-keys/{own}")).json()["name"]
    assert [each["created_by_name"] for each in newest] == ["k", name, "k", name]
    assert [each["description"] for each in newest] == ["Open the windows"] * 3 + [None]
    assert [each["severity"] for each in newest] == ["critical", "critical", "info", "info"]
    shared = newest[3].keys() & made.keys() - {"created_at"}
    assert {name: newest[3][name] for name in shared} == {name: made[name] for name in shared}
    assert newest[1]["scope"] == {"tags": ["school"]}
    assert [level["severity"] for level in newest[1]["levels"]] == ["info", "critical"]
    for each in newest:
        assert each["rule_id"] == made["id"]
        assert (await tenant.client.get(f"{path}/versions/{each['version']}")).json() == each


async def test_versions_come_in_pages(tenant: Tenant, site_id: str) -> None:
    made = await make(tenant, site_id, SINGLE)
    path = f"/v1/rules/{made['id']}"
    for number in range(4):
        await tenant.client.patch(path, json={"name": f"r{number}"})
    seen: list[int] = []
    params: dict[str, Any] = {"limit": 2}
    while params.get("cursor", "") is not None:
        page = (await tenant.client.get(f"{path}/versions", params=params)).json()
        assert len(page["data"]) <= 2
        seen += [each["version"] for each in page["data"]]
        params["cursor"] = page["next"]
    assert seen == [5, 4, 3, 2, 1]


async def test_versions_of_others_do_not_exist(tenant: Tenant, other_tenant: Tenant, site_id: str) -> None:
    made = await make(tenant, site_id, SINGLE)
    path = f"/v1/rules/{made['id']}/versions"
    for client, wanted in (
        (other_tenant.client, path),
        (other_tenant.client, f"{path}/1"),
        (tenant.client, f"{path}/2"),
        (tenant.client, f"{path}/0"),
        (tenant.client, f"{path}/-1"),
        (tenant.client, f"{path}/{2**31}"),
        (tenant.client, f"{path}/{10**30}"),
        (tenant.client, f"{path}/one"),
        (tenant.client, f"/v1/rules/{new_id()}/versions"),
        (tenant.client, f"/v1/rules/{new_id()}/versions/1"),
    ):
        answer = await client.get(wanted)
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found"), wanted
    rules = (await tenant.client.get("/v1/rules", params={"limit": 1})).json()
    assert rules["next"] is None
    assert (await tenant.client.get(path, params={"cursor": "forged"})).json()["code"] == "invalid_cursor"


class Closing:
    """Takes note of what would be closed."""

    def __init__(self) -> None:
        self.reasons: list[str] = []

    async def __call__(
        self,
        session: WriteSession,
        *,
        reason: str,
        now: datetime,
        rule_id: UUID | None = None,
        box_keys: Sequence[int] | None = None,
    ) -> int:
        assert session.in_transaction()
        assert now.tzinfo is not None
        assert (rule_id is not None, box_keys) == (True, None)
        self.reasons.append(reason)
        return 1


@pytest.mark.parametrize(
    ("before", "change", "reason"),
    [
        (SINGLE, {"name": "other"}, None),
        (SINGLE, {"description": "What to do"}, None),
        (SINGLE, {"severity": "critical"}, None),
        (SINGLE, {"escalations": [{"after": "PT1H", "severity": "critical"}]}, None),
        (SINGLE, {"remind_every": "PT1H"}, None),
        (SINGLE, {"severity": "critical", "condition": {**PM, "clear": 25, "for": "PT0S"}}, None),
        (SINGLE, {"condition": {**PM, "clear": 24}}, "rule_changed"),
        (SINGLE, {"condition": {**PM, "repeat": 2}}, "rule_changed"),
        (SINGLE, {"levels": LEVELS}, "rule_changed"),
        (SINGLE, {"scope": {"kinds": ["street"]}}, "rule_changed"),
        (SINGLE, {"active": [{"from": "22:00", "to": "06:00"}]}, "rule_changed"),
        (SINGLE, {"max_age": "PT2H"}, "rule_changed"),
        (SINGLE, {"dry_run": True}, "rule_changed"),
        ({**SINGLE, "dry_run": True}, {"dry_run": False}, "rule_changed"),
        ({**SINGLE, "scope": {"tags": ["a"]}}, {"scope": None}, "rule_changed"),
        ({"levels": LEVELS}, {"levels": [*LEVELS[:1], {**LEVELS[1], "severity": "warning"}]}, "rule_changed"),
        ({"levels": LEVELS}, {"severity": "info", "condition": PM}, "rule_changed"),
        (SINGLE, {"enabled": False}, "rule_disabled"),
        (SINGLE, {"enabled": False, "max_age": "PT2H"}, "rule_disabled"),
        ({**SINGLE, "enabled": False}, {"enabled": True}, None),
        (SINGLE, {"max_age": "PT1H", "scope": None, "escalations": [], "dry_run": False}, None),
    ],
)
async def test_a_rule_that_asks_something_else_begins_anew(
    tenant: Tenant,
    site_id: str,
    database: Database,
    *,
    before: dict[str, Any],
    change: dict[str, Any],
    reason: str | None,
) -> None:
    principal = Principal(
        new_id(),
        UUID(tenant.id),
        platform=False,
        scopes=frozenset({"*"}),
        tenant_scope=TenantScope.of([UUID(tenant.id)]),
    )
    now = datetime.now(UTC)
    closing = Closing()
    async with database.write() as session:
        body = RuleCreate.model_validate({"site_id": site_id, "name": "r", **before})
        rule = await service.add_rule(session, principal, body, now)
    async with database.write() as session:
        changed = await service.change_rule(
            session, principal, rule.id, RuleChange.model_validate(change), close_alerts=closing, now=now
        )
    assert closing.reasons == ([] if reason is None else [reason])
    assert changed.closed == len(closing.reasons)
    async with database.write() as session:
        await service.remove_rule(session, principal, rule.id, close_alerts=closing, now=now)
    assert closing.reasons[-1] == "rule_deleted"
