"""Serves `/.well-known/security.txt` (RFC 9116): where to report a vulnerability of this installation."""

from collections.abc import Iterator
from datetime import UTC, datetime, time, timedelta
from typing import Annotated, Final

from fastapi import APIRouter, Depends, Request
from fastapi.responses import PlainTextResponse

from app.pages.settings import SecurityTxtSettings
from app.platform.http.contract.problems import document_problems
from app.platform.kernel.application_resources import get_resource, make_resource_dependency
from app.platform.kernel.errors import VigieError
from app.platform.runtime.stored_settings import InstallationSettings

router: Final = APIRouter(tags=["Service"])
SECURITY_TXT_PATH: Final = "/.well-known/security.txt"
_FRESH_S: Final = 3600
_EXAMPLE: Final = """\
Contact: mailto:security@city.example
Expires: 2027-02-27T00:00:00Z
Policy: https://city.example/security
Preferred-Languages: en, fr
Canonical: https://vigie.example.com/.well-known/security.txt
"""


class NoSecurityContactError(VigieError):
    """The operator named no contact."""

    status = 404
    code = "no_security_contact"


def render_security_txt(settings: SecurityTxtSettings, public_url: str, now: datetime) -> str:
    """Render the file. Expires at midnight, so that the text is the same for a day."""
    expires = datetime.combine(now.date() + timedelta(days=settings.valid_days), time(), UTC)
    return "".join(f"{name}: {value}\n" for name, value in _list_fields(settings, public_url, expires))


def _list_fields(
    settings: SecurityTxtSettings, public_url: str, expires: datetime
) -> Iterator[tuple[str, str]]:
    for contact in settings.contacts:
        yield "Contact", contact
    yield "Expires", expires.strftime("%Y-%m-%dT%H:%M:%SZ")
    optional = (
        ("Encryption", settings.encryption),
        ("Acknowledgments", settings.acknowledgments),
        ("Policy", settings.policy),
        ("CSAF", settings.csaf),
        ("Preferred-Languages", ", ".join(settings.languages)),
        # The standard wants an address that the file can be read from by HTTPS.
        ("Canonical", f"{public_url}{SECURITY_TXT_PATH}" if public_url.startswith("https:") else ""),
    )
    yield from ((name, value) for name, value in optional if value)


@router.get(
    SECURITY_TXT_PATH,
    summary="Where to report a vulnerability",
    response_class=PlainTextResponse,
    responses={
        200: {"content": {"text/plain": {"example": _EXAMPLE}}, "description": "The file of RFC 9116"},
        **document_problems(404),
    },
)
async def get_security_txt(
    request: Request,
    settings: Annotated[SecurityTxtSettings, Depends(make_resource_dependency(SecurityTxtSettings))],
) -> PlainTextResponse:
    """Return the contacts of this installation for reports of vulnerabilities, as RFC 9116 defines.

    404 if the operator named none.
    """
    if not settings.contacts:
        raise NoSecurityContactError(
            "This installation names no contact for reports of vulnerabilities. Its operator can set "
            "VIGIE_SECURITY_TXT__CONTACTS."
        )
    installation = get_resource(request.app, InstallationSettings)
    text = render_security_txt(settings, installation.public_url, datetime.now(UTC))
    return PlainTextResponse(text, headers={"Cache-Control": f"max-age={_FRESH_S}"})
