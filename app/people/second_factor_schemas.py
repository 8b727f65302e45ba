"""Defines the JSON schemas of second factors: sign-in, enrolment and removal."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any, ClassVar, Final, Self
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic.config import JsonDict, JsonValue

from app.people.models import Passkey
from app.people.schemas import OrganisationRef, Password, RecoveryCode, TotpCode
from app.people.second_factor_verification import GivenFactor
from app.platform.http.contract.fields import Identifier, Name, RequestBody, limit_field_count
from app.platform.http.contract.problems import CodedValueError

_FIELDS_MAX: Final = 20
_CHALLENGE_LENGTH: Final = 2048
_CHALLENGE: Final = "c2VhbGVk…"
_CODES: Final = ["7k3m9q-t2vwa4-0bxd8e-h5n6rs"]
_ANSWER: Final[JsonDict] = {
    "id": "q1Xb…",
    "rawId": "q1Xb…",
    "type": "public-key",
    "response": {"clientDataJSON": "eyJ0…", "authenticatorData": "SZYN…", "signature": "MEUC…"},
}
_NEW_CREDENTIAL: Final[JsonDict] = {
    "id": "q1Xb…",
    "rawId": "q1Xb…",
    "type": "public-key",
    "response": {"clientDataJSON": "eyJ0…", "attestationObject": "o2Nm…", "transports": ["internal"]},
}

Challenge = Annotated[
    str,
    Field(max_length=_CHALLENGE_LENGTH, description="The challenge, unchanged", examples=[_CHALLENGE]),
]
PasskeyAnswer = Annotated[
    dict[str, Any],
    limit_field_count(_FIELDS_MAX, "fields"),
    Field(examples=[_ANSWER]),
]
NewCredential = Annotated[
    dict[str, Any],
    limit_field_count(_FIELDS_MAX, "fields"),
    Field(
        description="The result of `navigator.credentials.create()`, as its `toJSON()` returns it",
        examples=[_NEW_CREDENTIAL],
    ),
]


def _example(**body: JsonValue) -> JsonDict:
    return {"examples": [dict(body)]}


class SecondFactor(RequestBody):
    """One second factor."""

    kinds: ClassVar[tuple[str, ...]] = ("totp", "recovery_code", "passkey")

    totp: TotpCode | None = Field(None, description="The six digits that the authenticator app shows")
    recovery_code: RecoveryCode | None = Field(None, description="A recovery code; it works once")
    passkey: PasskeyAnswer | None = Field(
        None, description="The result of `navigator.credentials.get()`, as its `toJSON()` returns it"
    )

    @model_validator(mode="after")
    def _has_one(self) -> Self:
        if sum(getattr(self, kind) is not None for kind in self.kinds) != 1:
            names = ", ".join(f"`{kind}`" for kind in self.kinds)
            raise CodedValueError("one_factor_needed", f"Give exactly one of {names}")
        return self

    @property
    def factor(self) -> GivenFactor:
        """The factor for its verification."""
        return GivenFactor(self.totp, self.recovery_code, self.passkey)


class SecondFactorSignIn(SecondFactor):
    """The answer to the challenge of a sign-in: exactly one of `totp`, `recovery_code` and `passkey`."""

    model_config = ConfigDict(json_schema_extra=_example(challenge=_CHALLENGE, totp="492039"))

    challenge: Challenge
    organisation_id: Identifier | None = Field(
        None, description="The organisation to work for; by default that of `POST /v1/sessions`"
    )


class PasskeyOptions(BaseModel):
    """Options for a passkey, and the challenge to send with its answer."""

    challenge: str = Field(description="Send it with the answer", examples=[_CHALLENGE])
    options: dict[str, Any] = Field(
        description="The `publicKey` options of `navigator.credentials`, for "
        "`PublicKeyCredential.parseRequestOptionsFromJSON()` or `parseCreationOptionsFromJSON()`",
        examples=[{"challenge": "vB3r…", "rpId": "vigie.example.com", "userVerification": "required"}],
    )


class PasskeySignIn(RequestBody):
    """The answer of a passkey that names its person."""

    model_config = ConfigDict(json_schema_extra=_example(challenge=_CHALLENGE, passkey=_ANSWER))

    challenge: Challenge
    passkey: PasskeyAnswer = Field(
        description="The result of `navigator.credentials.get()`, as its `toJSON()` returns it"
    )
    organisation_id: Identifier | None = Field(
        None, description="The organisation to work for; by default the one that the person joined first"
    )


class Reauthentication(SecondFactor):
    """A proof of who you are: exactly one of `password`, `totp`, `recovery_code` and `passkey`."""

    model_config = ConfigDict(json_schema_extra=_example(totp="492039"))

    kinds = ("password", "totp", "recovery_code", "passkey")

    password: Password | None = Field(None, description="Your password")
    challenge: Challenge | None = Field(
        None, description="With `passkey`: the challenge of the problem `reauthentication_required`"
    )


class TotpOut(BaseModel):
    """An authenticator app."""

    enrolled_at: datetime = Field(description="When it was confirmed")


class PasskeyOut(BaseModel):
    """A passkey."""

    id: UUID
    name: str = Field(examples=["Ada's phone"])
    created_at: datetime
    last_used_at: datetime | None = Field(description="Null: never used since its enrolment")

    @classmethod
    def of(cls, row: Passkey) -> Self:
        """Build the response from a row."""
        return cls.model_validate(row, from_attributes=True)


class SecondFactorsOut(BaseModel):
    """Your second factors, and who requires one."""

    totp: TotpOut | None = Field(description="Your authenticator app; null: none")
    passkeys: list[PasskeyOut] = Field(description="Your passkeys, the oldest first")
    passkeys_available: bool = Field(
        description="Whether browsers accept passkeys at the public address of this installation"
    )
    recovery_codes_left: int = Field(description="Unused recovery codes", examples=[10])
    required_by: list[OrganisationRef] = Field(description="Your organisations that require a second factor")


class TotpStarted(BaseModel):
    """The secret of an authenticator app, which is shown only here. It works after its confirmation."""

    secret: str = Field(
        description="To type into the app, in base32", examples=["JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP"]
    )
    uri: str = Field(
        description="To show as a QR code",
        examples=["otpauth://totp/Vigie:ada.lovelace%40example.com?secret=JBSWY3DPEHPK3PXP&issuer=Vigie"],
    )
    expires_at: datetime = Field(description="The latest time of the confirmation")


class TotpConfirmation(RequestBody):
    """A code of the app, which proves that it has the secret."""

    model_config = ConfigDict(json_schema_extra=_example(code="492039"))

    code: TotpCode


class RecoveryCodesOut(BaseModel):
    """New recovery codes, which are shown only here. Former ones no longer work."""

    recovery_codes: list[str] = Field(description="Each replaces a second factor once", examples=[_CODES])


class FactorEnrolled(BaseModel):
    """What the first enrolment of a factor adds."""

    recovery_codes: list[str] | None = Field(
        description="At your first factor: recovery codes, which are shown only here. Null: you have some",
        examples=[_CODES],
    )


class TotpEnrolled(FactorEnrolled):
    """A confirmed authenticator app."""

    totp: TotpOut


class PasskeyCreate(RequestBody):
    """A new passkey."""

    model_config = ConfigDict(
        json_schema_extra=_example(challenge=_CHALLENGE, name="Ada's phone", credential=_NEW_CREDENTIAL)
    )

    challenge: Challenge
    name: Name
    credential: NewCredential


class PasskeyCreated(PasskeyOut, FactorEnrolled):
    """A new passkey."""

    @classmethod
    def of_enrolment(cls, row: Passkey, codes: Sequence[str] | None) -> Self:
        """Build the response from a row, and the recovery codes of the first factor."""
        shown = PasskeyOut.of(row).model_dump()
        return cls(**shown, recovery_codes=None if codes is None else list(codes))
