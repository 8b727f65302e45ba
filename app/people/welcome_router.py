"""The page behind the links of invitations and of tokens for new passwords.

One form, in English and French, that calls the API as any client would. The token stands behind the `#` of
the page's address, which browsers send to nobody.
"""

import secrets
from pathlib import Path
from string import Template
from typing import Final

from fastapi import APIRouter
from fastapi.responses import HTMLResponse

from app.people.context import WELCOME
from app.people.password_rules import LONGEST, SHORTEST

router: Final = APIRouter()
_PAGE: Final = Template(Path(__file__).with_name("welcome.html").read_text(encoding="utf-8"))


@router.get(WELCOME, include_in_schema=False)
async def welcome() -> HTMLResponse:
    """The page; nothing in it is anybody's."""
    nonce = secrets.token_urlsafe(16)
    policy = (
        f"default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    return HTMLResponse(
        _PAGE.substitute(nonce=nonce, shortest=SHORTEST, longest=LONGEST),
        headers={"Content-Security-Policy": policy},
    )
