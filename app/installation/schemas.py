"""The shapes of the installation's settings on the wire. Shapes only."""

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
    description="`environment`: a VIGIE_… variable sets it, and goes first; `database`: it was set here; "
    "`none`: it is not set",
    examples=["database"],
)

Host = Annotated[
    str,
    Field(
        max_length=253,
        pattern=r"^[A-Za-z0-9._:\[\]-]+$",
        description="The mail server's name",
        examples=[_HOST],
    ),
]
Security = Annotated[
    Literal["starttls", "tls", "none"],
    Field(description="TLS after STARTTLS, from the first byte on, or not at all"),
]
Account = Annotated[
    str,
    Field(
        min_length=1,
        max_length=320,
        pattern=r"^[^\x00-\x1f\x7f]*$",
        description="The account at the server; null: without logging in",
        examples=["vigie"],
    ),
]
Sender = Annotated[
    str,
    Field(
        max_length=400,
        description="What mails come from: `Name <address>`, or an address",
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
    port: Annotated[int, Field(ge=1, le=65_535, description="Its port")] = 587
    security: Security = "starttls"
    username: Account | None = None
    password: Annotated[
        SecretStr | None,
        Field(
            max_length=1000,
            description="Its password, stored sealed and never shown. Left out: the stored one stays, where "
            "host, port, security and account stay too",
        ),
    ] = None
    sender: Sender


class MailOut(ResourceModel):
    """The mail server that counts."""

    source: Annotated[Source, _SOURCE]
    host: str | None = Field(examples=[_HOST])
    port: int = Field(examples=[587])
    security: Security
    username: str | None = Field(description="Null: without logging in", examples=["vigie"])
    has_password: bool | None = Field(
        description="Whether a password is set; null: the environment sets the server, and the deliver role "
        "alone has to know its password",
        examples=[True],
    )
    sender: str = Field(examples=[_SENDER])
    recipient_domains: list[str] = Field(
        description="Domains that mails may go to; empty: any. Set by VIGIE_SMTP__RECIPIENT_DOMAINS alone",
        examples=[[]],
    )
    updated_at: datetime | None = Field(description="When it was set here; null where it was not")


class MailTest(RequestBody):
    """Whom a test mail goes to."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"to": "admin@example.com"}]})

    to: Annotated[str, Field(max_length=320, description="An e-mail address", examples=["admin@example.com"])]


class MailTestOut(BaseModel):
    """What came of a test mail."""

    delivered: bool = Field(description="Whether the mail server took it")
    reason: str = Field(
        description="`delivered`, or why not, as in the deliveries of e-mail channels", examples=["delivered"]
    )
    status: int | None = Field(description="The server's reply code", examples=[250])
    answer: str | None = Field(
        description="What the server said of the mail, or why Vigie did not connect to it",
        examples=["2.0.0 Ok: queued as 4711"],
    )
    duration_ms: float = Field(examples=[112.4])


class PublicUrlSet(RequestBody):
    """Where clients reach the API."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"url": _URL}]})

    url: Annotated[
        str,
        Field(
            max_length=500,
            pattern=r"^https?://[^\s/?#@]+(/[^\s?#]*)?$",
            description="Scheme, host, and a path where there is one",
            examples=[_URL],
        ),
    ]


class PublicUrlOut(ResourceModel):
    """Where clients reach the API, as links in mails, events and pages have it."""

    source: Annotated[Source, _SOURCE]
    url: str = Field(description="Without one: the API's port on 127.0.0.1", examples=[_URL])
    updated_at: datetime | None = Field(description="When it was set here; null where it was not")
