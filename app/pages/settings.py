"""Defines the settings of `/.well-known/security.txt`."""

import re
from typing import Final

from pydantic import BaseModel, Field, field_validator

_CONTACT: Final = re.compile(r"(mailto:[^\s@]+@[^\s@]+|tel:\+[0-9-]{4,20}|https://[^\s/]+\S*)")
_URL: Final = re.compile(r"https://[^\s/]+\S*|openpgp4fpr:[0-9A-Fa-f]{32,64}")
_LANGUAGE: Final = re.compile(r"[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8})*")


class SecurityTxtSettings(BaseModel):
    """How people report a vulnerability of this installation (RFC 9116)."""

    contacts: list[str] = Field(
        [],
        max_length=10,
        description="Where to report vulnerabilities, such as `mailto:security@city.example`, a form's "
        "`https://…` or `tel:+33-…`, the preferred one first. Empty: `/.well-known/security.txt` answers 404",
    )
    policy: str = Field("", description="`https://…` of your policy for reports; empty: none is named")
    languages: list[str] = Field(
        ["en"], max_length=10, description="Languages of reports that you understand, such as `en` and `fr`"
    )
    encryption: str = Field(
        "", description="`https://…` of your OpenPGP key, or `openpgp4fpr:…`; empty: none is named"
    )
    acknowledgments: str = Field(
        "", description="`https://…` of the page that thanks reporters; empty: none is named"
    )
    csaf: str = Field(
        "", description="`https://…` of your CSAF `provider-metadata.json`; empty: none is named"
    )
    valid_days: int = Field(
        90, ge=1, le=365, description="Days until `Expires` of the file, counted from the day of the request"
    )

    @field_validator("contacts")
    @classmethod
    def _reachable(cls, value: list[str]) -> list[str]:
        for contact in value:
            if not _CONTACT.fullmatch(contact):
                raise ValueError("must be mailto:…, https://… or tel:+…, without spaces")
        return value

    @field_validator("policy", "encryption", "acknowledgments", "csaf")
    @classmethod
    def _addresses(cls, value: str) -> str:
        if value and not _URL.fullmatch(value):
            raise ValueError("must begin with https://, without spaces")
        return value

    @field_validator("languages")
    @classmethod
    def _tags(cls, value: list[str]) -> list[str]:
        for language in value:
            if not _LANGUAGE.fullmatch(language):
                raise ValueError("must be language tags such as en or fr-CH")
        return value
