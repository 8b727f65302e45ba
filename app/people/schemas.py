"""Defines the JSON schemas of people, sign-ins, members and invitations."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Final, Literal, Self
from uuid import UUID

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr
from pydantic.config import JsonDict

from app.people.member_roles import Role
from app.people.models import Invitation, Membership, User, UserSession
from app.people.password_rules import PASSWORD_MAX_LENGTH, PASSWORD_MIN_LENGTH
from app.people.repository import InvitationState, compute_invitation_state
from app.people.sessions import OrganisationMembership
from app.platform.http.contract.etags import ResourceModel
from app.platform.http.contract.fields import Identifier, Name, RequestBody, TenantId, make_omittable_field
from app.platform.http.contract.problems import CodedValueError
from app.platform.identity.caller_authentication import SecondFactorState
from app.platform.kernel.email_addresses import MAX_ADDRESS_LENGTH, normalise_email_address
from app.platform.kernel.errors import InvalidError
from app.registry.models import Organisation

MEMBER_SITES_MAX: Final = 200
_TOKEN_LIMIT: Final = 64
_ORGANISATION: Final = "01936f3c-6f0a-7c1e-9a51-0d9f3b8e7a10"
_EMAIL: Final = "ada.lovelace@example.com"
_WORDS: Final = "quatre vaches sous la pluie"
_TOKEN: Final = "vgi_" + "…"


def _email(value: str) -> str:
    try:
        return normalise_email_address(value).lower()
    except InvalidError as error:
        raise CodedValueError(error.code, error.detail) from None


Email = Annotated[
    str,
    AfterValidator(_email),
    Field(description="An e-mail address, case-insensitive", examples=[_EMAIL]),
    Field(max_length=MAX_ADDRESS_LENGTH),
]
NewPassword = Annotated[
    SecretStr,
    Field(
        max_length=PASSWORD_MAX_LENGTH * 2,
        description=f"{PASSWORD_MIN_LENGTH} to {PASSWORD_MAX_LENGTH} characters of any kind; not a common "
        "password",
    ),
]
Password = Annotated[SecretStr, Field(max_length=PASSWORD_MAX_LENGTH * 2)]
Token = Annotated[str, Field(max_length=_TOKEN_LIMIT)]
TotpCode = Annotated[
    str,
    Field(
        pattern=r"^[0-9]{3} ?[0-9]{3}$", description="The six digits that the app shows", examples=["492039"]
    ),
]
RecoveryCode = Annotated[
    str,
    Field(
        max_length=_TOKEN_LIMIT,
        description="A recovery code; it works once",
        examples=["7k3m9q-t2vwa4-0bxd8e-h5n6rs"],
    ),
]
Locale = Literal["en", "fr"]
SiteIds = Annotated[
    list[Identifier] | None,
    Field(
        min_length=1,
        max_length=MEMBER_SITES_MAX,
        description="The only sites of the membership, without rights on the organisation as a whole; null: "
        "all",
    ),
]


def _example(**body: str) -> JsonDict:
    return {"examples": [dict(body)]}


class SignIn(RequestBody):
    """The credentials of a person."""

    model_config = ConfigDict(json_schema_extra=_example(email=_EMAIL, password=_WORDS))

    email: Email
    password: Password
    organisation_id: Identifier | None = Field(
        None, description="The organisation to work for; by default the one that the person joined first"
    )


class Switch(RequestBody):
    """Another organisation to work for."""

    model_config = ConfigDict(json_schema_extra=_example(organisation_id=_ORGANISATION))

    organisation_id: Identifier


class OrganisationRef(BaseModel):
    """An organisation, in short."""

    id: UUID
    name: str
    kind: Literal["platform", "integrator", "client"]

    @classmethod
    def of(cls, row: Organisation) -> Self:
        """Build the response from a row."""
        return cls.model_validate(row, from_attributes=True)


class PlaceOut(BaseModel):
    """The membership of a person in an organisation."""

    id: UUID
    organisation: OrganisationRef
    role: Role
    site_ids: list[UUID] | None = Field(description="The only sites of the membership; null: all")

    @classmethod
    def of(cls, joined: OrganisationMembership) -> Self:
        """Build the response from a membership and its organisation."""
        membership, organisation = joined
        return cls(
            id=membership.id,
            organisation=OrganisationRef.of(organisation),
            role=membership.role,
            site_ids=membership.site_ids,
        )


class PersonOut(BaseModel):
    """A person."""

    id: UUID
    email: str
    name: str
    locale: Locale
    created_at: datetime
    last_sign_in_at: datetime | None

    @classmethod
    def of(cls, row: User) -> Self:
        """Build the response from a row."""
        return cls.model_validate(row, from_attributes=True)


class SignedIn(BaseModel):
    """An active sign-in, and the organisation that it works for."""

    expires_at: datetime = Field(description="Latest end of the sign-in; it ends earlier if it is idle")
    user: PersonOut
    organisation: OrganisationRef
    memberships: list[PlaceOut]

    @classmethod
    def of(
        cls, row: UserSession, user: User, memberships: Sequence[OrganisationMembership], **more: str
    ) -> Self:
        """Build the response from a session, its person and the person's memberships."""
        current = next(each for each in memberships if each.organisation.id == row.organisation_id)
        return cls(
            expires_at=row.expires_at,
            user=PersonOut.of(user),
            organisation=OrganisationRef.of(current.organisation),
            memberships=[PlaceOut.of(each) for each in memberships],
            **more,
        )


class SessionCreated(SignedIn):
    """A new sign-in. The token is shown only here: store it."""

    token: str = Field(description="Send it as `Authorization: Bearer vgs_…`", examples=["vgs_…"])


class Me(BaseModel):
    """The caller."""

    kind: Literal["key", "user"]
    id: UUID = Field(description="Id of the API key or the person")
    name: str
    organisation: OrganisationRef = Field(description="The organisation that the caller works for")
    timezone: str | None = Field(
        description="IANA time zone of the first site that the caller can access; null without a site",
        examples=["Europe/Paris"],
    )
    platform: bool = Field(description="Whether the caller is an administrator of the platform")
    scopes: list[str]
    site_ids: list[UUID] | None = Field(description="The only sites that the caller can access; null: all")
    second_factor: SecondFactorState | None = Field(
        description="`enrolled`: the person has a second factor. `missing`: the organisation requires one, "
        "so the sign-in has no scopes until the person enrols one at `/v1/me`. `provider`: it requires one, "
        "and the sign-in through the OpenID Connect provider counts instead. `not_required`: neither. Null "
        "for an API key",
        examples=["enrolled"],
    )
    mail_configured: bool = Field(
        description="Whether this installation has a mail server: without one, e-mail channels and reports "
        "by mail are refused (`email_not_configured`), and invitations are handed over as links"
    )
    user: PersonOut | None = Field(description="Null for an API key")
    memberships: list[PlaceOut] = Field(description="All memberships of the person; empty for an API key")


class MeChange(RequestBody):
    """Changes of your own data. Fields that are left out stay."""

    model_config = ConfigDict(json_schema_extra=_example(name="Ada Lovelace", locale="fr"))

    name: Name = make_omittable_field()
    locale: Locale = make_omittable_field()


class PasswordChange(RequestBody):
    """The current password and a new one."""

    model_config = ConfigDict(json_schema_extra=_example(current_password=_WORDS, new_password=_WORDS + "!"))

    current_password: Password
    new_password: NewPassword


class SessionOut(BaseModel):
    """An active sign-in."""

    id: UUID
    organisation_id: UUID
    created_at: datetime
    expires_at: datetime
    last_used_at: datetime = Field(description="Time of the last use, to the minute")
    address: str
    user_agent: str
    current: bool = Field(description="Whether this request was made with it")

    @classmethod
    def of(cls, row: UserSession, token_hash: bytes) -> Self:
        """Build the response from a row."""
        names = ("id", "organisation_id", "created_at", "expires_at", "last_used_at", "address", "user_agent")
        values = {name: getattr(row, name) for name in names}
        return cls(**values, current=row.token_hash == token_hash)


class MemberOut(ResourceModel):
    """A member of an organisation."""

    volatile = frozenset({"last_sign_in_at", "second_factor"})

    id: UUID = Field(description="Id of the membership: a person has one for each organisation")
    organisation_id: UUID
    user_id: UUID
    email: str
    name: str
    role: Role
    site_ids: list[UUID] | None = Field(description="The only sites of the membership; null: all")
    disabled: bool = Field(description="Whether the person cannot sign in to any organisation")
    second_factor: bool = Field(description="Whether the person has a second factor")
    last_sign_in_at: datetime | None
    created_at: datetime
    updated_at: datetime

    @classmethod
    def of(cls, membership: Membership, user: User) -> Self:
        """Build the response from a membership and its person."""
        names = ("id", "organisation_id", "user_id", "role", "site_ids", "created_at", "updated_at")
        return cls(
            **{name: getattr(membership, name) for name in names},
            email=user.email,
            name=user.name,
            disabled=user.disabled_at is not None,
            second_factor=user.second_factor_at is not None,
            last_sign_in_at=user.last_sign_in_at,
        )


class MemberChange(RequestBody):
    """Changes of a member. Fields that are left out stay."""

    model_config = ConfigDict(json_schema_extra=_example(role="operator"))

    role: Role = make_omittable_field()
    site_ids: SiteIds = make_omittable_field()
    disabled: bool = make_omittable_field()


class InvitationCreate(RequestBody):
    """A new invitation."""

    model_config = ConfigDict(json_schema_extra=_example(email=_EMAIL, role="operator"))

    organisation_id: TenantId = None
    email: Email
    role: Role
    site_ids: SiteIds = None
    language: Annotated[Locale, Field(description="Language of the mail")] = "en"


class InvitationOut(ResourceModel):
    """An invitation, without its token."""

    volatile = frozenset({"state", "mail_status", "mail_reason", "mailed_at"})

    id: UUID
    organisation_id: UUID
    email: str
    role: Role
    site_ids: list[UUID] | None
    language: Locale
    state: InvitationState
    invited_by: UUID = Field(description="The person, or the API key")
    invited_by_name: str
    created_at: datetime
    expires_at: datetime
    accepted_at: datetime | None
    revoked_at: datetime | None
    mail_status: Literal["pending", "sent", "failed"] | None = Field(
        description="Status of the mail; `sent`: the mail server accepted it. Null: no mail is sent, since "
        "no mail server was configured",
        examples=["sent"],
    )
    mail_reason: str | None = Field(
        description="Reason of the last failed attempt, as in the deliveries of e-mail channels; "
        "`invitation_ended`: the invitation was accepted, revoked or expired before a mail was sent",
        examples=[None],
    )
    mailed_at: datetime | None = Field(description="When the mail server accepted the mail")

    @classmethod
    def of(cls, row: Invitation, now: datetime, **more: str) -> Self:
        """Build the response from a row."""
        names = (
            *("id", "organisation_id", "email", "role", "site_ids", "invited_by", "invited_by_name"),
            *("created_at", "expires_at", "accepted_at", "revoked_at", "language"),
            *("mail_status", "mail_reason", "mailed_at"),
        )
        return cls(
            **{name: getattr(row, name) for name in names}, state=compute_invitation_state(row, now), **more
        )


class InvitationCreated(InvitationOut):
    """A new invitation. The token is shown only here."""

    once = frozenset({"token", "link"})

    token: str = Field(description="Anyone who has it can become the member", examples=[_TOKEN])
    link: str = Field(description="Link to the page that accepts it, with the token after the `#`")


class InvitationAccept(RequestBody):
    """The acceptance of an invitation, with a new account or an existing one."""

    model_config = ConfigDict(json_schema_extra=_example(token=_TOKEN, name="Ada Lovelace", password=_WORDS))

    token: Token = Field(description="The token in the invitation's link")
    name: Name | None = Field(
        None,
        description="Name of the new account. Leave it out for an existing account: with "
        "`current_password`, or with the token of a sign-in, it is refused (`name_not_taken`)",
    )
    password: NewPassword | None = Field(
        None,
        description="The new password, also of an existing account. Leave it out if the account has no "
        "password",
    )
    current_password: Password | None = Field(
        None, description="The present password of an existing account. Leave it out for a new account"
    )
    totp: TotpCode | None = Field(
        None, description="The code of the authenticator app, if the existing account has a second factor"
    )
    recovery_code: RecoveryCode | None = Field(None, description="A recovery code instead of `totp`")
    locale: Locale = Field(
        "en",
        description="Language of the new account. An existing account is not changed",
    )


class ResetCreated(BaseModel):
    """A token with which a member chooses a new password. It is shown only here."""

    token: str = Field(examples=["vgr_…"], description="The token of the reset: shown only once")
    link: str = Field(description="Link to the page that uses it, with the token after the `#`")
    expires_at: datetime


class PasswordReset(RequestBody):
    """A new password, and a reset token instead of the current password."""

    model_config = ConfigDict(json_schema_extra=_example(token="vgr_" + "…", password=_WORDS))

    token: Token = Field(description="The token in the reset's link")
    password: NewPassword
