"""Renders pgBackRest's configuration and PostgreSQL's archive command. Pure."""

import shlex
from pathlib import Path
from typing import Final

from app.backups.settings import BackupSettings

STANZA: Final = "vigie"
STANZA_OPTION: Final = f"--stanza={STANZA} "
"""The part of `archive_command` by which it is recognised."""
ARCHIVE_TIMEOUT_S: Final = 60
"""PostgreSQL archives an incomplete WAL segment after this time: the most that the loss of the disk costs."""


def render_pgbackrest_config(
    settings: BackupSettings, *, cluster_dir: Path, cipher_pass: str, s3_key: tuple[str, str] | None
) -> str:
    """Return the text of the configuration. It contains the passphrase, and S3's secret.

    Args:
        settings: the settings of backups.
        cluster_dir: PostgreSQL's data directory.
        cipher_pass: the passphrase of the repository.
        s3_key: access key and secret of an S3 repository.
    """
    options = {
        "repo1-path": str(settings.path),
        "repo1-cipher-type": "aes-256-cbc",
        "repo1-cipher-pass": cipher_pass,
        # TimescaleDB makes many small files: bundles reduce requests, and block increments copy changed
        # pages only.
        "repo1-bundle": "y",
        "repo1-block": "y",
        "repo1-retention-full": str(settings.retention_full),
        "repo1-retention-diff": str(settings.retention_differential),
        **_s3_options(settings, s3_key),
        "compress-type": "zst",
        "process-max": str(settings.processes),
        # A backup begins at once, with a checkpoint, instead of after the next regular one.
        "start-fast": "y",
        # A lost primary may still write the backup that another host would resume: locks are those of a host.
        "resume": "n",
        # Not in /tmp, of which a unit has its own: a command by hand would not see the lock of the unit.
        "lock-path": str(settings.lock_dir),
        # Vigie shows the output itself.
        "log-level-file": "off",
    }
    if settings.retention_archive:
        options["repo1-retention-archive"] = str(settings.retention_archive)
    cluster = {
        "pg1-path": str(cluster_dir),
        "pg1-user": "postgres",
    }
    lines = ["# Written by `vigie backup setup`: changes are lost. Contains secrets (0600).", "[global]"]
    lines += [f"{name}={value}" for name, value in options.items()]
    lines += ["", f"[{STANZA}]", *(f"{name}={value}" for name, value in cluster.items()), ""]
    return "\n".join(lines)


def _s3_options(settings: BackupSettings, key: tuple[str, str] | None) -> dict[str, str]:
    if settings.repository == "posix" or key is None:
        return {"repo1-type": "posix"}
    s3 = settings.s3
    host, _, port = s3.endpoint.partition(":")
    options = {
        "repo1-type": "s3",
        "repo1-s3-endpoint": host,
        "repo1-s3-bucket": s3.bucket,
        "repo1-s3-region": s3.region,
        "repo1-s3-key": key[0],
        "repo1-s3-key-secret": key[1],
        "repo1-s3-uri-style": "path" if s3.path_style else "host",
    }
    if port:
        options["repo1-storage-port"] = port
    if s3.ca_file is not None:
        options["repo1-storage-ca-file"] = str(s3.ca_file)
    return options


def build_archive_command(config_file: Path) -> str:
    """Build PostgreSQL's `archive_command`, in which a percent sign is written twice."""
    config = shlex.quote(str(config_file)).replace("%", "%%")
    return f"pgbackrest --config={config} --stanza={STANZA} archive-push %p"


def list_archive_settings(config_file: Path) -> dict[str, str]:
    """List the settings of PostgreSQL that archive its WAL, as they stand in `postgresql.conf`."""
    command = build_archive_command(config_file).replace("'", "''")
    return {
        "archive_mode": "on",
        "archive_command": f"'{command}'",
        "archive_timeout": f"'{ARCHIVE_TIMEOUT_S}s'",
    }


def build_patroni_command(config_file: Path) -> str:
    """Build the command by which Patroni configures the same settings on all hosts."""
    settings = {
        "archive_mode": "on",
        "archive_command": build_archive_command(config_file),
        "archive_timeout": f"{ARCHIVE_TIMEOUT_S}s",
    }
    words = ["patronictl", "-c", "/etc/patroni/vigie.yml", "edit-config", "--force"]
    return shlex.join([*words, *(word for each in settings.items() for word in ("-p", "=".join(each)))])
