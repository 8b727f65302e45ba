"""Defines the JSON of the audit log."""

import json
from datetime import datetime
from typing import Any, Literal, Self
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from app.audit.hash_chain import ChainHead
from app.audit.models import AuditEntry


class ActorOut(BaseModel):
    """The actor: who or what performed the action."""

    kind: str = Field(
        description="`key`, `user`, `claim`, `provisioning_key`, `program` (Vigie itself) or `database` "
        "(a direct session at the database, without the API)",
        examples=["key"],
    )
    id: str | None = Field(examples=["01936f3c-6f0a-7c1e-9a51-0d9f3b8e7a10"])
    name: str | None = Field(
        description="The name at that time. Null for persons: look them up among the members",
        examples=["Maintenance"],
    )


class SubjectOut(BaseModel):
    """The resource of the action, or several resources that were shown together."""

    kind: str = Field(examples=["site"])
    id: str | None = Field(None, examples=["01936f3c-6f0a-7c1e-9a51-0d9f3b8e7a10"])
    ids: list[str] | None = Field(None, description="Replaces `id` if there are several resources")
    name: str | None = Field(None, description="The name at that time", examples=["Rue d'Alsace-Lorraine"])


class DatabaseSessionOut(BaseModel):
    """The database session that wrote the entry."""

    user: str = Field(examples=["vigie_api"], description="The role at the database")
    application: str = Field(examples=["vigie-api"], description="The process")


class AuditEntryOut(BaseModel):
    """An entry of the audit log."""

    model_config = ConfigDict(extra="ignore")

    organisation_id: UUID
    position: int = Field(description="1, 2, 3 … in the log of the organisation", examples=[1042])
    at: datetime = Field(description="Time of the commit of its transaction")
    actor: ActorOut
    action: str = Field(examples=["site.updated"], description="What was done")
    subject: SubjectOut
    before: dict[str, Any] | None = Field(
        description="The changed fields before a change", examples=[{"name": "Rue d'Alsace"}]
    )
    after: dict[str, Any] | None = Field(
        description="The changed fields after a change; secrets and personal data are shown as `changed`. "
        "For other actions: details",
        examples=[{"name": "Rue d'Alsace-Lorraine"}],
    )
    address: str | None = Field(description="The client's address", examples=["203.0.113.7"])
    request_id: str | None = Field(description="The `X-Request-Id` of the response, also in Vigie's logs")
    database: DatabaseSessionOut
    source: Literal["trigger", "program"] | None = Field(
        None,
        description="`trigger`: the database recorded a change; `program`: Vigie recorded an access or a "
        "refused request. Null for entries that are older than this field",
        examples=["trigger"],
    )
    hash: str = Field(description="SHA-256 of the previous hash and the record, in hexadecimal digits")

    @classmethod
    def of(cls, row: AuditEntry) -> Self:
        """Make the JSON of an entry."""
        return cls.model_validate({**json.loads(row.record), "hash": row.hash.hex()})


class AuditProofOut(AuditEntryOut):
    """An entry with its proof: `hash` is the SHA-256 of `previous` (32 bytes) followed by `record`."""

    record: str = Field(description="The text that was hashed, as UTF-8")
    previous: str = Field(description="The hash of the entry before it; zeros for the first entry")

    @classmethod
    def of(cls, row: AuditEntry) -> Self:
        """Make the JSON of an entry with its proof."""
        proof = {"hash": row.hash.hex(), "record": row.record, "previous": row.previous.hex()}
        return cls.model_validate({**json.loads(row.record), **proof})


class AuditHeadOut(BaseModel):
    """The head of an organisation's log: its last entry."""

    organisation_id: UUID
    position: int = Field(description="The position of the last entry; 0 if there is none", examples=[1042])
    hash: str = Field(description="The hash of the last entry, in hexadecimal digits")

    @classmethod
    def of(cls, head: ChainHead) -> Self:
        """Make the JSON of a head."""
        return cls(organisation_id=head.organisation_id, position=head.position, hash=head.hash.hex())
