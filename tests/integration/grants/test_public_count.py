"""The public register says with how many third parties a site is shared, and for which purposes."""

from fastapi import FastAPI

from app.platform.kernel.application_resources import get_resource
from app.public_register.register_context import RegisterContext
from tests.conftest import Tenant, client_of
from tests.integration.grants.grants import give, measure, offer


def forget(application: FastAPI) -> None:
    """Let the register read again: what it shows may be a minute old."""
    get_resource(application, RegisterContext).cache._entries.clear()


async def test_citizens_see_grants_in_force_and_names_that_are_published(
    application: FastAPI, tenant: Tenant
) -> None:
    measured = await measure(tenant, "box-0001")
    other = await measure(tenant, "box-0002")
    page = f"/public/sites/{measured.site}"
    async with client_of(application, None) as citizen:
        assert "has granted no third party access" in (await citizen.get(page)).text
        made, _ = await give(
            application, tenant, measured.site, purpose="Air research", is_recipient_published=True
        )
        await give(application, tenant, measured.site, recipient="Secret Ltd", purpose="Advice on routes")
        await offer(tenant, measured.site, purpose="Not accepted")
        await give(application, tenant, other.site, purpose="Elsewhere")
        forget(application)
        text = (await citizen.get(page)).text
        assert "shared with 2 third parties" in text
        assert "Air research (Air Lab, until" in text
        assert "Advice on routes (a third party not named by the operator" in text
        for absent in ("Secret Ltd", "Not accepted", "Elsewhere", "air-lab.example"):
            assert absent not in text
        french = (await citizen.get(page, params={"lang": "fr"})).text
        assert "partagées avec 2\xa0tiers" in french or "partagées avec 2 tiers" in french
        document = (await citizen.get(f"{page}/register.json")).json()
        sites = document.get("sites", [document])
        grants = next(site["grants"] for site in sites if site["id"] == measured.site)
        assert [(each["recipient"], each["purpose"]) for each in grants] == [
            ("Air Lab", "Air research"),
            (None, "Advice on routes"),
        ]
        (await tenant.client.delete(f"/v1/grants/{made['id']}")).raise_for_status()
        forget(application)
        assert "shared with 1 third party" in (await citizen.get(page)).text
