"""Invites a person to a running stack (`vigie invite`): a fresh installation needs a first owner."""

import asyncio
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

from app.standalone.unprivileged_accounts import StandaloneError

_TIMEOUT_S = 30.0


@dataclass(frozen=True, slots=True)
class RunAccess:
    """Access to a running API as its administrator."""

    api: str
    admin_key: str


def invite_person(access: RunAccess, email: str, role: str) -> str:
    """Create an invitation to the platform's own organisation, with the administrator's key.

    Args:
        access: Access to the API.
        email: The address of the person.
        role: The role; an `owner` of this organisation is an administrator.

    Returns:
        The link that accepts it. Everybody who has the link can accept.

    Raises:
        StandaloneError: The API does not answer, or refuses the invitation.
    """
    body = {"email": email, "role": role}
    return asyncio.run(_invite(f"{access.api}/v1/invitations", access.admin_key, body))


def read_run_access(run_file: Path) -> RunAccess:
    """Read the access to a stack of `vigie up` from its `run.json`.

    Raises:
        StandaloneError: The stack does not run, or runs without the API.
    """
    try:
        run = json.loads(run_file.read_text(encoding="utf-8"))
        api, key = run["api"], run["admin_key"]
    except (OSError, ValueError, KeyError, TypeError):
        raise StandaloneError(
            f"{run_file} cannot be read: start the stack with `vigie up`, or give its --data-dir"
        ) from None
    if api is None:
        raise StandaloneError("the stack runs without the process `api`: start it with the role `api`")
    return RunAccess(api, key)


async def _invite(url: str, key: str, body: dict[str, str]) -> str:
    headers = {"Authorization": f"Bearer {key}"}
    timeout = aiohttp.ClientTimeout(total=_TIMEOUT_S)
    try:
        async with (
            aiohttp.ClientSession(headers=headers, timeout=timeout) as session,
            session.post(url, json=body) as response,
        ):
            answer: dict[str, Any] = await response.json(content_type=None)
    except (aiohttp.ClientError, TimeoutError, ValueError) as error:
        raise StandaloneError(f"the API at {url} does not answer: {error!r}") from error
    if "link" not in answer:
        raise StandaloneError(f"the API refused the invitation: {answer.get('detail', answer)}")
    return str(answer["link"])
