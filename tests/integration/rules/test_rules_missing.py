"""All that a rule lacks is named in one answer."""

from tests.conftest import Tenant


async def test_all_that_a_rule_lacks_is_named_at_once(tenant: Tenant) -> None:
    answer = await tenant.client.post("/v1/rules", json={})
    problem = answer.json()
    assert (answer.status_code, problem["code"]) == (422, "missing_field")
    fields = [error["field"] for error in problem["errors"]]
    assert sorted(fields) == ["body.condition", "body.name", "body.severity", "body.site_id"]
    assert all(field in problem["detail"] for field in fields)
