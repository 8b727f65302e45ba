"""Serves the REST endpoints of the installation's settings: the mail server and the public URL.

A change applies in this process immediately, and in the others within two seconds
(`app.platform.runtime.stored_settings`).
"""

from datetime import UTC, datetime
from typing import Annotated, Final

from fastapi import APIRouter, Depends

from app.installation_settings.schemas import (
    MailOut,
    MailSet,
    MailTest,
    MailTestOut,
    PublicUrlOut,
    PublicUrlSet,
)
from app.installation_settings.settings_service import (
    TEST_LIMIT,
    TEST_WINDOW_S,
    TestMailLimiter,
    check_administrator,
    check_not_set_by_environment,
    explain_address_refusal,
    find_setting,
    send_test_mail,
    store_mail_server,
    store_setting,
)
from app.notifications.email.allowed_recipients import check_recipients
from app.platform.config.platform_settings import SmtpSettings
from app.platform.http.contract.etags import PreconditionDep
from app.platform.http.contract.problems import document_problems
from app.platform.http.contract.session_dependencies import (
    DatabaseDependency,
    ReadSessionDep,
    SealerDependency,
)
from app.platform.http.contract.strict_body import StrictRoute
from app.platform.identity.caller_authentication import Principal
from app.platform.kernel.application_resources import make_resource_dependency
from app.platform.kernel.errors import ConflictError, TooManyRequestsError
from app.platform.kernel.ids import new_id
from app.platform.runtime.models import StoredSetting
from app.platform.runtime.stored_settings import (
    MAIL,
    PUBLIC_URL,
    InstallationDependency,
    InstallationSettings,
)
from app.registry.dependencies import OrganisationsReader, OrganisationsWriter

router: Final = APIRouter(prefix="/v1/settings", tags=["Settings"], route_class=StrictRoute)

_SMTP: Final = "VIGIE_SMTP__HOST"
_URL: Final = "VIGIE_API__PUBLIC_URL"


async def _reader(principal: OrganisationsReader) -> Principal:
    check_administrator(principal)
    return principal


async def _writer(principal: OrganisationsWriter) -> Principal:
    check_administrator(principal)
    return principal


EnvironmentSmtp = Annotated[SmtpSettings, Depends(make_resource_dependency(SmtpSettings))]
AdminReader = Annotated[Principal, Depends(_reader)]
AdminWriter = Annotated[Principal, Depends(_writer)]


def _mail(installation: InstallationSettings, row: StoredSetting | None) -> MailOut:
    smtp, source = installation.smtp, installation.mail_source
    has_password = None if source == "environment" else bool(smtp.password.get_secret_value())
    return MailOut(
        source=source,
        host=smtp.host,
        port=smtp.port,
        security=smtp.security,
        username=smtp.username,
        has_password=has_password,
        sender=smtp.sender,
        recipient_domains=smtp.recipient_domains,
        updated_at=None if row is None else row.updated_at,
    )


def _public_url(installation: InstallationSettings, row: StoredSetting | None) -> PublicUrlOut:
    return PublicUrlOut(
        source=installation.public_url_source,
        url=installation.base_url,
        updated_at=None if row is None else row.updated_at,
    )


@router.get("/mail", summary="Read the mail server settings")
async def get_mail_settings(
    principal: AdminReader,  # noqa: ARG001 (who may)
    session: ReadSessionDep,
    installation: InstallationDependency,
) -> MailOut:
    """Read the mail server in force and the source of its settings. The password is never shown."""
    return _mail(installation, await find_setting(session, MAIL))


@router.put("/mail", summary="Set the mail server settings", responses=document_problems(409))
async def set_mail_settings(
    *,
    body: MailSet,
    principal: AdminWriter,
    database: DatabaseDependency,
    installation: InstallationDependency,
    environment: EnvironmentSmtp,
    sealer: SealerDependency,
    matching: PreconditionDep,
) -> MailOut:
    """Set the mail server of e-mail channels and invitations.

    The change applies within two seconds in all processes, without a restart. If the environment sets a mail
    server (`VIGIE_SMTP__HOST`), that has precedence, and the answer is 409 `set_by_environment`. Test the
    settings with `POST /v1/settings/mail/test`.
    """
    check_not_set_by_environment(installation.mail_source, _SMTP)
    now = datetime.now(UTC)
    async with database.write() as session:
        matching.check(_mail(installation, await find_setting(session, MAIL, lock=True)))
        await store_mail_server(session, principal, body, smtp=environment, sealer=sealer, now=now)
    await installation.refresh(database)
    async with database.read() as reader:
        return _mail(installation, await find_setting(reader, MAIL))


@router.delete(
    "/mail",
    status_code=204,
    summary="Delete the mail server settings",
    responses=document_problems(409),
)
async def delete_mail_settings(
    principal: AdminWriter,  # noqa: ARG001 (who may)
    database: DatabaseDependency,
    installation: InstallationDependency,
    matching: PreconditionDep,
) -> None:
    """Delete the mail server settings. Pending mails fail as `not_configured` and are retried."""
    check_not_set_by_environment(installation.mail_source, _SMTP)
    async with database.write() as session:
        row = await find_setting(session, MAIL, lock=True)
        matching.check(_mail(installation, row))
        if row is not None:
            await session.delete(row)
    await installation.refresh(database)


@router.post("/mail/test", summary="Send a test mail")
async def test_mail_settings(
    body: MailTest,
    principal: AdminWriter,  # noqa: ARG001 (who may)
    installation: InstallationDependency,
    counter: Annotated[TestMailLimiter, Depends(make_resource_dependency(TestMailLimiter))],
) -> MailTestOut:
    """Send a test mail now, and return the response of the mail server.

    The answer is 200 even if the mail was refused: see `reason`. At most five tests can be sent in a minute.
    If the environment sets the server and this process does not have its password, the answer is 409
    `set_by_environment`: test an e-mail channel instead, which `vigie deliver` sends.
    """
    smtp = installation.smtp
    if smtp.host is None:
        raise ConflictError(
            f"No mail server is configured. Set one with `PUT /v1/settings/mail`, or with {_SMTP}.",
            code="email_not_configured",
        )
    if smtp.username is not None and not smtp.password.get_secret_value():
        # Only `vigie deliver` has the password.
        check_not_set_by_environment(installation.mail_source, "VIGIE_SMTP__PASSWORD of `vigie deliver`")
    (to,) = check_recipients([body.to], smtp.recipient_domains, field="body.to")
    if not counter.allows():
        raise TooManyRequestsError(
            f"{TEST_LIMIT} test mails were sent within a minute. Wait a minute.",
            retry_after_s=TEST_WINDOW_S,
            code="too_many_tests",
        )
    outcome = await send_test_mail(installation, to, new_id(), datetime.now(UTC))
    answer = outcome.body
    if outcome.reason == "address_refused" and answer is None:
        answer = explain_address_refusal(smtp.host, allow_private=smtp.allow_private)
    return MailTestOut(
        delivered=outcome.delivered,
        reason=outcome.reason,
        status=outcome.status,
        answer=answer,
        duration_ms=round(outcome.duration_ms, 1),
    )


@router.get("/public-url", summary="Read the public URL")
async def get_public_url(
    principal: AdminReader,  # noqa: ARG001 (who may)
    session: ReadSessionDep,
    installation: InstallationDependency,
) -> PublicUrlOut:
    """Read the base URL of links in mails, events and pages, and the source of the setting."""
    return _public_url(installation, await find_setting(session, PUBLIC_URL))


@router.put("/public-url", summary="Set the public URL", responses=document_problems(409))
async def set_public_url(
    *,
    body: PublicUrlSet,
    principal: AdminWriter,
    database: DatabaseDependency,
    installation: InstallationDependency,
    matching: PreconditionDep,
) -> PublicUrlOut:
    """Set the base URL of links in mails, events and pages, without a restart.

    If the environment sets it (`VIGIE_API__PUBLIC_URL`), that has precedence, and the answer is 409
    `set_by_environment`. An OpenID Connect provider redirects only to the URL of the environment.
    """
    check_not_set_by_environment(installation.public_url_source, _URL)
    now = datetime.now(UTC)
    async with database.write() as session:
        matching.check(_public_url(installation, await find_setting(session, PUBLIC_URL, lock=True)))
        await store_setting(session, PUBLIC_URL, principal, now, value={"url": body.url.rstrip("/")})
    await installation.refresh(database)
    async with database.read() as reader:
        return _public_url(installation, await find_setting(reader, PUBLIC_URL))


@router.delete(
    "/public-url",
    status_code=204,
    summary="Delete the public URL",
    responses=document_problems(409),
)
async def delete_public_url(
    principal: AdminWriter,  # noqa: ARG001 (who may)
    database: DatabaseDependency,
    installation: InstallationDependency,
    matching: PreconditionDep,
) -> None:
    """Delete the public URL. Links then begin with the API's port on 127.0.0.1 again."""
    check_not_set_by_environment(installation.public_url_source, _URL)
    async with database.write() as session:
        row = await find_setting(session, PUBLIC_URL, lock=True)
        matching.check(_public_url(installation, row))
        if row is not None:
            await session.delete(row)
    await installation.refresh(database)
