"""Defines the settings of backups: repository, retention, the cluster, and the recovery key."""

from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, Field, field_validator, model_validator

from app.backups.recovery_key import RecoveryPublicKey
from app.platform.config.encryption_settings import EncryptionSettings
from app.platform.config.platform_settings import DatabaseOnlySettings
from app.platform.config.setting_sources import Port


class S3Settings(BaseModel):
    """An S3-compatible repository. TLS is always used."""

    endpoint: str = Field("", description="Host of the S3 service, with `:port` where it is not 443")
    bucket: str = Field("", description="Bucket")
    region: str = Field("", description="Region")
    key_file: Path | None = Field(
        None, description="File with two lines, the access key and its secret; 0600, of PostgreSQL's account"
    )
    ca_file: Path | None = Field(
        None, description="CA certificates of the service (PEM); unset: those that this machine trusts"
    )
    path_style: bool = Field(
        False, description="Put the bucket into the path instead of the host name (MinIO, Ceph)"
    )


class BackupSettings(BaseModel):
    """Backups by pgBackRest. They are off while `recovery_key` is not set."""

    recovery_key: str | None = Field(
        None,
        description="Public part of the recovery key (`vigie backup keygen`): encryption keys, broker "
        "accounts and settings are sealed for it. Unset: no backups",
    )
    include: list[Path] = Field(
        [],
        description="Files and folders to seal into each backup, such as `/etc/vigie`; `vigie backup seal` "
        "reads them, as root",
    )
    maintain_include: list[Path] = Field(
        [],
        description="Files that `maintain` may read, and seals itself with the encryption keys; `vigie up` "
        "sets it",
    )
    repository: Literal["posix", "s3"] = Field("posix", description="Kind of repository: a folder, or S3")
    path: Path = Field(
        Path("/var/lib/pgbackrest"),
        description="Folder of the repository, or prefix in the bucket; on another disk than the database",
    )
    cipher_pass_file: Path | None = Field(
        None,
        description="File with the passphrase that encrypts the repository (AES-256-CBC); 0600, of "
        "PostgreSQL's account",
    )
    s3: S3Settings = S3Settings()
    retention_full: int = Field(
        4, ge=1, description="Full backups to keep; older backups and WAL are removed"
    )
    retention_differential: int = Field(14, ge=1, description="Differential backups to keep")
    retention_archive: int = Field(
        0,
        ge=0,
        description="Full backups for which all WAL is kept; 0: all. Older ones can only be restored as they "
        "were at their end",
    )
    full_every_days: int = Field(
        7, ge=1, description="Age of the newest full backup from which `vigie backup` makes a full one (days)"
    )
    checksums: Literal["all", "full"] = Field(
        "all",
        description="Backups with checksums of all tables, which `verify` compares: all, or only full ones; "
        "they read the whole database",
    )
    processes: int = Field(2, ge=1, le=64, description="Processes that compress, encrypt and copy")
    config_file: Path = Field(
        Path("/etc/pgbackrest/vigie.conf"),
        description="pgBackRest's configuration, which `vigie backup setup` writes from these settings",
    )
    lock_dir: Path = Field(
        Path("/var/lib/pgbackrest/lock"),
        description="Folder of pgBackRest's locks, the same for the units and for commands: two backups at "
        "once would damage the repository",
    )
    cluster_dir: Path | None = Field(
        None, description="PostgreSQL's data directory; unset: that of `vigie up`"
    )
    socket_dir: Path = Field(Path("/var/run/postgresql"), description="Folder of PostgreSQL's socket")
    port: Port = Field(5432, description="PostgreSQL's port, which names its socket")
    database: str = Field("vigie", description="Database of Vigie in this cluster")
    scratch_dir: Path = Field(
        Path("/var/tmp"),  # noqa: S108  # a new folder (0700) is made in it
        description="Folder in which `vigie backup verify` restores; it needs as much space as the database",
    )

    @field_validator("recovery_key")
    @classmethod
    def _is_public_key(cls, value: str | None) -> str | None:
        if value is not None:
            RecoveryPublicKey.parse(value)
        return value

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.recovery_key is None:
            return self
        if self.cipher_pass_file is None:
            raise ValueError("cipher_pass_file must be set where recovery_key is")
        needed = ("endpoint", "bucket", "region", "key_file")
        missing = [name for name in needed if not getattr(self.s3, name)]
        if self.repository == "s3" and missing:
            raise ValueError(f"s3.{missing[0]} must be set where repository is s3")
        return self

    @property
    def public_key(self) -> RecoveryPublicKey | None:
        """The public part of the recovery key; None: backups are off."""
        return None if self.recovery_key is None else RecoveryPublicKey.parse(self.recovery_key)


class BackupCommandSettings(DatabaseOnlySettings):
    """Settings of the commands. PostgreSQL's account runs them, and may not read the files of the roles."""

    backup: BackupSettings = BackupSettings()
    encryption: EncryptionSettings = EncryptionSettings()
