"""Defines the JSON schemas of the installation's settings."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr

from app.platform.http.contract.etags import ResourceModel
from app.platform.http.contract.fields import RequestBody
from app.platform.runtime.stored_settings import Source

_HOST = "mail.example.com"
_SENDER = "Vigie <vigie@example.com>"
_URL = "https://vigie.example.com"
_SOURCE = Field(
    description="`environment`: a VIGIE_… variable sets it, with precedence; `database`: it was set by the "
    "API; `none`: it is not set",
    examples=["database"],
)

Host = Annotated[
    str,
    Field(
        max_length=253,
        pattern=r"^[A-Za-z0-9._:\[\]-]+$",
        description="Host name or address of the mail server",
        examples=[_HOST],
    ),
]
Security = Annotated[
    Literal["starttls", "tls", "none"],
    Field(description="`starttls`: TLS after STARTTLS; `tls`: TLS from the start; `none`: no TLS"),
]
Account = Annotated[
    str,
    Field(
        min_length=1,
        max_length=320,
        pattern=r"^[^\x00-\x1f\x7f]*$",
        description="User name at the server; null: no login",
        examples=["vigie"],
    ),
]
Sender = Annotated[
    str,
    Field(
        max_length=400,
        description="Sender of mails: `Name <address>`, or an address",
        examples=[_SENDER],
    ),
]


class MailSet(RequestBody):
    """A mail server."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "host": _HOST,
                    "port": 587,
                    "security": "starttls",
                    "username": "vigie",
                    "password": "correct horse battery staple",
                    "sender": _SENDER,
                }
            ]
        }
    )

    host: Host
    port: Annotated[int, Field(ge=1, le=65_535, description="Port of the mail server")] = 587
    security: Security = "starttls"
    username: Account | None = None
    password: Annotated[
        SecretStr | None,
        Field(
            max_length=1000,
            description="Password of the account, stored encrypted and never shown. Left out: the stored one "
            "stays, if host, port, security and user name are unchanged",
        ),
    ] = None
    sender: Sender


class MailOut(ResourceModel):
    """The mail server in force."""

    source: Annotated[Source, _SOURCE]
    host: str | None = Field(examples=[_HOST])
    port: int = Field(examples=[587])
    security: Security
    username: str | None = Field(description="User name at the server; null: no login", examples=["vigie"])
    has_password: bool | None = Field(
        description="Whether a password is set; null: the environment sets the server, and only "
        "`vigie deliver` needs its password",
        examples=[True],
    )
    sender: str = Field(examples=[_SENDER])
    recipient_domains: list[str] = Field(
        description="Allowed domains of recipients; empty: any. Only VIGIE_SMTP__RECIPIENT_DOMAINS sets it",
        examples=[[]],
    )
    updated_at: datetime | None = Field(description="When it was set by the API; null: it was not")


class MailTest(RequestBody):
    """The recipient of a test mail."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"to": "admin@example.com"}]})

    to: Annotated[str, Field(max_length=320, description="An e-mail address", examples=["admin@example.com"])]


class MailTestOut(BaseModel):
    """The outcome of a test mail."""

    delivered: bool = Field(description="Whether the mail server accepted it")
    reason: str = Field(
        description="`delivered`, or why not, as in the deliveries of e-mail channels", examples=["delivered"]
    )
    status: int | None = Field(description="The server's reply code", examples=[250])
    answer: str | None = Field(
        description="Response of the mail server, or the reason why Vigie did not connect to it",
        examples=["2.0.0 Ok: queued as 4711"],
    )
    duration_ms: float = Field(examples=[112.4])


class PublicUrlSet(RequestBody):
    """The public URL of the API."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"url": _URL}]})

    url: Annotated[
        str,
        Field(
            max_length=500,
            pattern=r"^https?://[^\s/?#@]+(/[^\s?#]*)?$",
            description="Scheme, host, and an optional path",
            examples=[_URL],
        ),
    ]


class PublicUrlOut(ResourceModel):
    """The public URL of the API, with which links in mails, events and pages begin."""

    source: Annotated[Source, _SOURCE]
    url: str = Field(description="By default the API's port on 127.0.0.1", examples=[_URL])
    updated_at: datetime | None = Field(description="When it was set by the API; null: it was not")
