"""What people and keys of one organisation may ask together, by what the database says of whose they are."""

from app.settings import VigieSettings
from tests.conftest import client_of, new_application, running
from tests.integration.people.folk import OrganisationPeople


async def test_sign_ins_keys_and_clients_of_an_integrator_do_not_add_up(
    settings: VigieSettings, admin_key: str
) -> None:
    few = {"organisation_rate_per_s": 0.001, "organisation_rate_burst": 30, "integrator_factor": 1}
    api = settings.api.model_validate({**settings.api.model_dump(), **few})
    async with (
        running(new_application(settings.model_copy(update={"api": api}))) as app,
        client_of(app, admin_key) as admin,
    ):
        made = (
            await admin.post("/v1/organisations", json={"name": "I", "kind": "integrator"})
        ).raise_for_status()
        integrator = made.json()["id"]
        key = {"organisation_id": integrator, "name": "a", "scopes": ["*"]}
        keys = [
            (await admin.post("/v1/api-keys", json=key)).raise_for_status().json()["key"] for _ in range(2)
        ]
        async with (
            client_of(app, keys[0]) as first,
            client_of(app, keys[1]) as second,
            OrganisationPeople(app, admin, integrator) as folk,
        ):
            person = await folk.join("Anne", "owner", integrator)
            client = (
                (await first.post("/v1/organisations", json={"name": "C"})).raise_for_status().json()["id"]
            )
            key = {"organisation_id": client, "name": "a", "scopes": ["*"]}
            wanted = (await first.post("/v1/api-keys", json=key)).raise_for_status().json()["key"]
            async with client_of(app, wanted) as of_client:
                callers = (first, second, person.client, of_client)
                answers = [await caller.get("/v1/sites") for _ in range(8) for caller in callers]
        allowed = [answer for answer in answers if answer.status_code == 200]
        assert {answer.status_code for answer in answers} == {200, 429}
        # Two calls went before.
        assert len(allowed) == 28
        assert [answer.status_code for answer in answers[-4:]] == [429] * 4
        assert (await admin.get("/v1/sites")).status_code == 200
