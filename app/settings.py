"""Composes the settings of the platform and of all rooms, and reads them once per process.

A room takes its own settings, or those of the platform, as arguments: it does not import this module.
"""

from functools import cache
from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, Field, model_validator

from app.backups.settings import BackupSettings
from app.edge.settings import EdgeSettings
from app.grants.settings import GrantSettings
from app.ingest.settings import IngestSettings
from app.measurement_stream.settings import MeasurementStreamSettings
from app.message_log.settings import MessageLogSettings
from app.notifications.settings import WebhookSettings
from app.pages.settings import SecurityTxtSettings
from app.people.settings import OidcSettings, SessionSettings
from app.platform.config.platform_settings import PlatformSettings, read_valid_settings
from app.platform.config.security_finding_catalogue import SecurityFindingCode
from app.platform.config.setting_sources import Port
from app.privacy_requests.settings import RightsSettings
from app.public_register.settings import RegisterSettings
from app.quarantine.settings import QuarantineSettings
from app.registry.settings import EnrolmentSettings, QuotaSettings, SitesSettings
from app.sound_incidents.settings import IncidentSettings
from app.standard_apis.settings import StandardApiSettings


class TlsListenerSettings(BaseModel):
    """A second listener of the broker of `vigie up`, for remote boxes."""

    port: Port = Field(0, description="TLS port of the broker of `vigie up`, for remote boxes; 0: none")
    host: str = Field("0.0.0.0", description="Address that it listens on")  # noqa: S104 (off by default)
    certificate_file: Path | None = Field(None, description="The broker's certificate and its chain (PEM)")
    key_file: Path | None = Field(None, description="Its private key (PEM), without a passphrase")
    client_ca_file: Path | None = Field(None, description="CA certificates of boxes (PEM)")
    client_crl_file: Path | None = Field(None, description="Revoked certificates of boxes (PEM)")
    clients: Literal["password", "certificate", "identity"] = Field(
        "password",
        description="How boxes authenticate: with a password; a certificate and a password; or a certificate "
        "alone, with the box's id as its common name",
    )

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if not self.port:
            return self
        if self.certificate_file is None or self.key_file is None:
            raise ValueError("certificate_file and key_file must be set where port is")
        if self.clients != "password" and self.client_ca_file is None:
            raise ValueError("client_ca_file must be set where boxes show certificates")
        return self


class VigieSettings(PlatformSettings):
    """The whole configuration of one process."""

    tls_listener: TlsListenerSettings = TlsListenerSettings()
    backup: BackupSettings = BackupSettings()
    sites: SitesSettings = SitesSettings()
    quotas: QuotaSettings = QuotaSettings()
    incidents: IncidentSettings = IncidentSettings()
    enrolment: EnrolmentSettings = EnrolmentSettings()
    ingest: IngestSettings = IngestSettings()
    message_log: MessageLogSettings = MessageLogSettings()
    edge: EdgeSettings = EdgeSettings()
    quarantine: QuarantineSettings = QuarantineSettings()
    grants: GrantSettings = GrantSettings()
    rights: RightsSettings = RightsSettings()
    sessions: SessionSettings = SessionSettings()
    oidc: OidcSettings = OidcSettings()
    webhooks: WebhookSettings = WebhookSettings()
    measurement_stream: MeasurementStreamSettings = MeasurementStreamSettings()
    public_register: RegisterSettings = RegisterSettings()
    sensorthings: StandardApiSettings = StandardApiSettings()
    security_txt: SecurityTxtSettings = SecurityTxtSettings()
    allow_insecure: list[SecurityFindingCode] = Field(
        [], description="Codes of security findings with which processes start nevertheless"
    )


def read_settings() -> VigieSettings:
    """Read the settings again (InvalidSettingsError)."""
    return read_valid_settings(VigieSettings)


@cache
def get_settings() -> VigieSettings:
    """Read the settings once per process (InvalidSettingsError)."""
    return read_settings()
