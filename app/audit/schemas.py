"""The shapes of the audit log in REST."""

import json
from datetime import datetime
from typing import Any, Literal, Self
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from app.audit.hash_chain import ChainHead
from app.audit.models import AuditEntry


class ActorOut(BaseModel):
    """Who did it."""

    kind: str = Field(
        description="`key`, `user`, `claim`, `provisioning_key`, `program` (Vigie itself) or `database` "
        "(somebody at the database, past the API)",
        examples=["key"],
    )
    id: str | None = Field(examples=["01936f3c-6f0a-7c1e-9a51-0d9f3b8e7a10"])
    name: str | None = Field(
        description="As it was then; null of persons, whom the members' list names", examples=["Maintenance"]
    )


class SubjectOut(BaseModel):
    """What it was done to: one thing, or several that were shown together."""

    kind: str = Field(examples=["site"])
    id: str | None = Field(None, examples=["01936f3c-6f0a-7c1e-9a51-0d9f3b8e7a10"])
    ids: list[str] | None = Field(None, description="In place of `id`, where they are several")
    name: str | None = Field(None, description="As it was then", examples=["Rue d'Alsace-Lorraine"])


class DatabaseSessionOut(BaseModel):
    """What the database knows of who wrote it."""

    user: str = Field(examples=["vigie_api"])
    application: str = Field(examples=["vigie-api"])


class AuditEntryOut(BaseModel):
    """An entry of the audit log."""

    model_config = ConfigDict(extra="ignore")

    organisation_id: UUID
    position: int = Field(description="1, 2, 3 … in the log of the organisation", examples=[1042])
    at: datetime = Field(description="When its transaction was committed")
    actor: ActorOut
    action: str = Field(examples=["site.updated"])
    subject: SubjectOut
    before: dict[str, Any] | None = Field(
        description="Of a change what was, the changed fields alone", examples=[{"name": "Rue d'Alsace"}]
    )
    after: dict[str, Any] | None = Field(
        description="Of a change what is now: of secrets and of data of persons just `changed`. Else details",
        examples=[{"name": "Rue d'Alsace-Lorraine"}],
    )
    address: str | None = Field(description="The client's address", examples=["203.0.113.7"])
    request_id: str | None = Field(description="As in the answer's `X-Request-Id`, and in the program's log")
    database: DatabaseSessionOut
    source: Literal["trigger", "program"] | None = Field(
        None,
        description="Whether the database itself saw the change, or Vigie told of it (accesses, refusals); "
        "null of entries that are older than this field",
        examples=["trigger"],
    )
    hash: str = Field(description="SHA-256 of the hash before it and of the record, in hexadecimal digits")

    @classmethod
    def of(cls, row: AuditEntry) -> Self:
        """What an entry says."""
        return cls.model_validate({**json.loads(row.record), "hash": row.hash.hex()})


class AuditProofOut(AuditEntryOut):
    """An entry with what it takes to verify it: `hash` is SHA-256 of `previous` (32 bytes) and `record`."""

    record: str = Field(description="The text that was hashed, as UTF-8")
    previous: str = Field(description="The hash of the entry before it; of the first one, zeros")

    @classmethod
    def of(cls, row: AuditEntry) -> Self:
        """What an entry says, and its proof."""
        told = {"hash": row.hash.hex(), "record": row.record, "previous": row.previous.hex()}
        return cls.model_validate({**json.loads(row.record), **told})


class AuditHeadOut(BaseModel):
    """Where an organisation's log has come to."""

    organisation_id: UUID
    position: int = Field(description="Of the last entry; 0 where there is none", examples=[1042])
    hash: str = Field(description="Of the last entry, in hexadecimal digits")

    @classmethod
    def of(cls, head: ChainHead) -> Self:
        """A head."""
        return cls(organisation_id=head.organisation_id, position=head.position, hash=head.hash.hex())
