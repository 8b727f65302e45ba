"""Makes people: invites them, lets them accept, and gives their clients."""

from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any, Self

import httpx
from fastapi import FastAPI

from tests.conftest import client_of

PASSWORD = "quatre vaches sous la pluie"


@dataclass(frozen=True)
class SignedInPerson:
    """Somebody who signed in."""

    client: httpx.AsyncClient
    token: str
    email: str
    id: str
    member_id: str
    password: str = PASSWORD


def refusal(answer: httpx.Response) -> tuple[int, str]:
    """The status and the code of a refusal."""
    assert answer.headers["content-type"] == "application/problem+json", answer.text
    return answer.status_code, answer.json()["code"]


class OrganisationPeople:
    """People of an organisation; those who invite are the platform's administrators."""

    def __init__(self, application: FastAPI, api: httpx.AsyncClient, organisation: str) -> None:
        self._application = application
        self._api = api
        self._organisation = organisation
        self._clients = AsyncExitStack()
        self._passwords: dict[str, str] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._clients.aclose()

    async def client(self, token: str) -> httpx.AsyncClient:
        return await self._clients.enter_async_context(client_of(self._application, token))

    async def invite(self, email: str, role: str, organisation: str | None = None, **more: Any) -> str:  # noqa: ANN401 (fields of a body)
        body = {"email": email, "role": role, "organisation_id": organisation or self._organisation, **more}
        answer = await self._api.post("/v1/invitations", json=body)
        assert answer.status_code == 201, answer.text
        token: str = answer.json()["token"]
        return token

    async def join(
        self,
        name: str,
        role: str,
        organisation: str | None = None,
        **more: Any,  # noqa: ANN401 (fields of a body)
    ) -> SignedInPerson:
        """A new person, or one who is known already and takes another password, becomes a member."""
        email = f"{name.lower()}@example.com"
        token = await self.invite(email, role, organisation, **more)
        if (current := self._passwords.get(email)) is None:
            body = {"token": token, "name": name, "password": PASSWORD}
        else:
            body = {"token": token, "current_password": current, "password": f"{current}, encore"}
        answer = await self._api.post("/v1/invitations/accept", json=body, headers={"Authorization": ""})
        assert answer.status_code == 201, answer.text
        signed_in = answer.json()
        self._passwords[email] = body["password"]
        working = signed_in["organisation"]["id"]
        (member,) = [m["id"] for m in signed_in["memberships"] if m["organisation"]["id"] == working]
        return SignedInPerson(
            await self.client(signed_in["token"]),
            signed_in["token"],
            email,
            signed_in["user"]["id"],
            member,
            body["password"],
        )
