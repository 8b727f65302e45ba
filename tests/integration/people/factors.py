"""Enrols second factors of people, and gives their codes at other times."""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import httpx
import pyotp

from tests.integration.people.authenticator import SoftwareAuthenticator
from tests.integration.people.folk import PASSWORD, SignedInPerson


@dataclass
class AuthenticatorApp:
    """An app with a secret, and the codes that it gave: no code works twice."""

    secret: str
    codes: list[str] = field(default_factory=list)
    recovery_codes: tuple[str, ...] = ()

    def next_code(self) -> str:
        """A code that was not given yet: of this half minute, then of the next one.

        Both are accepted, also if that begins meanwhile.
        """
        code = pyotp.TOTP(self.secret).at(datetime.now(UTC), counter_offset=len(self.codes))
        self.codes.append(code)
        return code


async def enrol_totp(person: SignedInPerson) -> AuthenticatorApp:
    """Enrol an app for a person."""
    started = await person.client.post("/v1/me/totp")
    assert started.status_code == 201, started.text
    app = AuthenticatorApp(started.json()["secret"])
    confirmed = await person.client.post("/v1/me/totp/confirm", json={"code": app.next_code()})
    assert confirmed.status_code == 200, confirmed.text
    app.recovery_codes = tuple(confirmed.json()["recovery_codes"] or ())
    return app


async def enrol_passkey(
    person: SignedInPerson, device: SoftwareAuthenticator, name: str = "phone"
) -> dict[str, Any]:
    """Enrol a passkey of a device. Returns the answer."""
    started = await person.client.post("/v1/me/passkeys/options")
    assert started.status_code == 200, started.text
    begun = started.json()
    body = {"challenge": begun["challenge"], "name": name, "credential": device.create(begun["options"])}
    made = await person.client.post("/v1/me/passkeys", json=body)
    assert made.status_code == 201, made.text
    answer: dict[str, Any] = made.json()
    return answer


async def ask(client: httpx.AsyncClient, email: str, password: str = PASSWORD) -> dict[str, Any]:
    """Sign in by password. Returns the problem that asks for a second factor."""
    answer = await client.post("/v1/sessions", json={"email": email, "password": password})
    assert (answer.status_code, answer.json()["code"]) == (401, "second_factor_required"), answer.text
    problem: dict[str, Any] = answer.json()
    return problem


async def complete(client: httpx.AsyncClient, problem: dict[str, Any], **factor: object) -> httpx.Response:
    """Answer such a problem with a factor."""
    body = {"challenge": problem["challenge"], **factor}
    return await client.post("/v1/sessions/second-factor", json=body)
