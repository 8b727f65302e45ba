"""The shapes of people, sign-ins, members and invitations on the wire. Shapes only."""

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
    Field(description="An e-mail address; capitals make no difference", examples=[_EMAIL]),
    Field(max_length=MAX_ADDRESS_LENGTH),
]
NewPassword = Annotated[
    SecretStr,
    Field(
        max_length=PASSWORD_MAX_LENGTH * 2,
        description=f"{PASSWORD_MIN_LENGTH} to {PASSWORD_MAX_LENGTH} characters, whichever; not one that "
        f"everybody tries first",
    ),
]
Password = Annotated[SecretStr, Field(max_length=PASSWORD_MAX_LENGTH * 2)]
Token = Annotated[str, Field(max_length=_TOKEN_LIMIT)]
Locale = Literal["en", "fr"]
SiteIds = Annotated[
    list[Identifier] | None,
    Field(
        min_length=1,
        max_length=MEMBER_SITES_MAX,
        description="Only for these sites: without what concerns the organisation as a whole; null: for all",
    ),
]


def _example(**body: str) -> JsonDict:
    return {"examples": [dict(body)]}


class SignIn(RequestBody):
    """Who signs in."""

    model_config = ConfigDict(json_schema_extra=_example(email=_EMAIL, password=_WORDS))

    email: Email
    password: Password
    organisation_id: Identifier | None = Field(
        None, description="Whom the person works for; by default the organisation that they joined first"
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
        """The shape of a row."""
        return cls.model_validate(row, from_attributes=True)


class PlaceOut(BaseModel):
    """What the person is in an organisation."""

    id: UUID
    organisation: OrganisationRef
    role: Role
    site_ids: list[UUID] | None = Field(description="The only sites that it is for; null: all")

    @classmethod
    def of(cls, place: OrganisationMembership) -> Self:
        """The shape of a membership and its organisation."""
        membership, organisation = place
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
        """The shape of a row."""
        return cls.model_validate(row, from_attributes=True)


class SignedIn(BaseModel):
    """A sign-in that holds, and whom it works for."""

    expires_at: datetime = Field(description="When it ends at the latest; it ends earlier where it is idle")
    user: PersonOut
    organisation: OrganisationRef
    memberships: list[PlaceOut]

    @classmethod
    def of(cls, held: UserSession, user: User, places: Sequence[OrganisationMembership], **more: str) -> Self:
        """The shape of a sign-in."""
        working = next(place for place in places if place.organisation.id == held.organisation_id)
        return cls(
            expires_at=held.expires_at,
            user=PersonOut.of(user),
            organisation=OrganisationRef.of(working.organisation),
            memberships=[PlaceOut.of(place) for place in places],
            **more,
        )


class SessionCreated(SignedIn):
    """A new sign-in. Its token is shown here and never again."""

    token: str = Field(description="Send it as `Authorization: Bearer vgs_…`", examples=["vgs_…"])


class Me(BaseModel):
    """Who calls."""

    kind: Literal["key", "user"]
    id: UUID = Field(description="Of the API key or the person")
    name: str
    organisation: OrganisationRef = Field(description="Whom the caller works for")
    platform: bool = Field(description="Whether the caller is an administrator of the platform")
    scopes: list[str]
    site_ids: list[UUID] | None = Field(description="The only sites in reach; null: all")
    user: PersonOut | None = Field(description="Null for an API key")
    memberships: list[PlaceOut] = Field(description="All of the person's; none for an API key")


class MeChange(RequestBody):
    """What people may change of themselves."""

    model_config = ConfigDict(json_schema_extra=_example(name="Ada Lovelace", locale="fr"))

    name: Name = make_omittable_field()
    locale: Locale = make_omittable_field()


class PasswordChange(RequestBody):
    """A new password in place of the present one."""

    model_config = ConfigDict(json_schema_extra=_example(current_password=_WORDS, new_password=_WORDS + "!"))

    current_password: Password
    new_password: NewPassword


class SessionOut(BaseModel):
    """A sign-in that holds."""

    id: UUID
    organisation_id: UUID
    created_at: datetime
    expires_at: datetime
    last_used_at: datetime = Field(description="To the minute")
    address: str
    user_agent: str
    current: bool = Field(description="Whether this call was made with it")

    @classmethod
    def of(cls, row: UserSession, token_hash: bytes) -> Self:
        """The shape of a row."""
        names = ("id", "organisation_id", "created_at", "expires_at", "last_used_at", "address", "user_agent")
        values = {name: getattr(row, name) for name in names}
        return cls(**values, current=row.token_hash == token_hash)


class MemberOut(ResourceModel):
    """A member of an organisation."""

    volatile = frozenset({"last_sign_in_at"})

    id: UUID = Field(description="Of the membership: a person has one for each organisation")
    organisation_id: UUID
    user_id: UUID
    email: str
    name: str
    role: Role
    site_ids: list[UUID] | None = Field(description="The only sites that it is for; null: all")
    disabled: bool = Field(description="Whether the person cannot sign in, to no organisation")
    last_sign_in_at: datetime | None
    created_at: datetime
    updated_at: datetime

    @classmethod
    def of(cls, membership: Membership, user: User) -> Self:
        """The shape of a membership."""
        names = ("id", "organisation_id", "user_id", "role", "site_ids", "created_at", "updated_at")
        return cls(
            **{name: getattr(membership, name) for name in names},
            email=user.email,
            name=user.name,
            disabled=user.disabled_at is not None,
            last_sign_in_at=user.last_sign_in_at,
        )


class MemberChange(RequestBody):
    """What may change of a member."""

    model_config = ConfigDict(json_schema_extra=_example(role="operator"))

    role: Role = make_omittable_field()
    site_ids: SiteIds = make_omittable_field()
    disabled: bool = make_omittable_field()


class InvitationCreate(RequestBody):
    """An invitation to be."""

    model_config = ConfigDict(json_schema_extra=_example(email=_EMAIL, role="operator"))

    organisation_id: TenantId = None
    email: Email
    role: Role
    site_ids: SiteIds = None
    language: Annotated[Locale, Field(description="What its mail is written in")] = "en"


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
        description="What became of its mail: `sent` once the mail server took it. Null: none is sent, for "
        "there was no mail server",
        examples=["sent"],
    )
    mail_reason: str | None = Field(
        description="Why the last attempt to mail it failed, as in the deliveries of e-mail channels; "
        "`invitation_ended`: it was accepted, revoked or over before a mail went",
        examples=[None],
    )
    mailed_at: datetime | None = Field(description="When the mail server took the mail")

    @classmethod
    def of(cls, row: Invitation, now: datetime, **more: str) -> Self:
        """The shape of a row."""
        names = (
            *("id", "organisation_id", "email", "role", "site_ids", "invited_by", "invited_by_name"),
            *("created_at", "expires_at", "accepted_at", "revoked_at", "language"),
            *("mail_status", "mail_reason", "mailed_at"),
        )
        return cls(
            **{name: getattr(row, name) for name in names}, state=compute_invitation_state(row, now), **more
        )


class InvitationCreated(InvitationOut):
    """A new invitation. Its token is shown here and never again."""

    once = frozenset({"token", "link"})

    token: str = Field(description="Whoever has it becomes the member", examples=[_TOKEN])
    link: str = Field(description="Where it is accepted, with the token behind the `#`")


class InvitationAccept(RequestBody):
    """Somebody who accepts an invitation."""

    model_config = ConfigDict(json_schema_extra=_example(token=_TOKEN, name="Ada Lovelace", password=_WORDS))

    token: Token
    name: Name | None = Field(
        None,
        description="Of who gets an account. An account that there is keeps its name: beside "
        "`current_password`, or with the token of a sign-in, this is refused (`name_not_taken`)",
    )
    password: NewPassword | None = Field(
        None,
        description="The password from now on, also of who has an account; none where the account has none",
    )
    current_password: Password | None = Field(
        None, description="Of who takes an account that they have into the organisation; else none"
    )
    locale: Locale = Field(
        "en",
        description="The language of who gets an account: the one in which they accept. An account that "
        "exists keeps its own",
    )


class ResetCreated(BaseModel):
    """A token with which a member gives themselves a new password. It is shown here and never again."""

    token: str = Field(examples=["vgr_…"])
    link: str = Field(description="Where it is used, with the token behind the `#`")
    expires_at: datetime


class PasswordReset(RequestBody):
    """A new password, with a token in place of the present one."""

    model_config = ConfigDict(json_schema_extra=_example(token="vgr_" + "…", password=_WORDS))

    token: Token
    password: NewPassword


class OidcOut(BaseModel):
    """The OpenID Connect provider that people may sign in with."""

    name: str
    start: str = Field(description="Where a browser begins")


class OidcStart(RequestBody):
    """Whom somebody means who goes to the provider: an organisation, or the one that an invitation is of."""

    model_config = ConfigDict(json_schema_extra=_example(invitation=_TOKEN))

    invitation: Token | None = Field(None, description="The token of an invitation, which is accepted")
    organisation_id: Identifier | None = Field(
        None, description="An organisation: its invitation is accepted, or its account is theirs from now on"
    )


class OidcStarted(BaseModel):
    """A sign-in that is under way."""

    url: str = Field(description="Where the browser goes: the provider")
