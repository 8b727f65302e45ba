"""Creates the files that backups need: passphrase, repository folder, pgBackRest's configuration."""

import os
import secrets
from pathlib import Path
from typing import Final

from app.backups.backup_run import connect_to_primary
from app.backups.backup_target import BackupError, BackupTarget, NotDueError, ProgressSink
from app.backups.pgbackrest_client import PgBackRest
from app.backups.pgbackrest_config import render_pgbackrest_config
from app.platform.kernel.atomic_files import replace_file_text

_PASS_BYTES: Final = 48
_KEY_LINES: Final = 2


async def set_up_host(target: BackupTarget, report: ProgressSink) -> list[str]:
    """Set up a host of the database for the repository; returns one line for each change.

    Only one host makes the passphrase. The others get a copy of it: archiving must go on after a failover.

    Raises:
        BackupError: the repository cannot be used, or a standby has no copy of the passphrase.
    """
    is_primary, problem = False, ""
    try:
        await (await connect_to_primary(target)).close()
        is_primary = True
    except NotDueError as error:
        problem = str(error)
        file = target.settings.cipher_pass_file
        if file is not None and not file.exists():
            raise BackupError(
                f"{problem}. Copy {file} from there to this host, 0600 and of PostgreSQL's account"
            ) from None
    except BackupError:
        problem = "PostgreSQL does not run on this host: the first `vigie backup` completes the repository"
    done = set_up_repository(target)
    pgbackrest = PgBackRest(target, report)
    backups = await pgbackrest.list_backups()
    if is_primary:
        await pgbackrest.create_stanza()
    done.append(f"{target.settings.path}: readable; number of backups: {len(backups)}")
    return [*done, problem] if problem else done


def set_up_repository(target: BackupTarget) -> list[str]:
    """Create missing files, and write pgBackRest's configuration; returns one line for each change.

    Raises:
        BackupError: a file or folder cannot be written or read.
    """
    settings = target.settings
    if settings.cipher_pass_file is None:
        raise BackupError("VIGIE_BACKUP__RECOVERY_KEY and VIGIE_BACKUP__CIPHER_PASS_FILE are not set")
    done = []
    try:
        if not settings.cipher_pass_file.exists():
            if settings.repository == "posix" and (settings.path / "backup").exists():
                raise BackupError(
                    f"{settings.path} has backups already: put their passphrase into "
                    f"{settings.cipher_pass_file}"
                )
            _make_passphrase(target, settings.cipher_pass_file)
            done.append(f"{settings.cipher_pass_file}: a new passphrase. Keep a copy of it elsewhere")
        if settings.repository == "posix" and not settings.path.exists():
            target.make_folder(settings.path)
            done.append(f"{settings.path}: the repository")
        if not settings.lock_dir.exists():
            target.make_folder(settings.lock_dir)
        text = render_pgbackrest_config(
            settings,
            cluster_dir=target.cluster_dir,
            cipher_pass=_read_secret(settings.cipher_pass_file),
            s3_key=_read_s3_key(settings.s3.key_file) if settings.repository == "s3" else None,
        )
        path = target.config_file
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.parent.mkdir(parents=True, exist_ok=True)
            replace_file_text(path, text, mode=0o600)
            target.set_owner(path)
            done.append(f"{path}: pgBackRest's configuration")
    except OSError as error:
        raise BackupError(f"{error.filename or 'a file'} cannot be used: {error.strerror}") from error
    return done


def _make_passphrase(target: BackupTarget, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    # O_EXCL: an existing file has the passphrase of existing backups.
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(f"{secrets.token_urlsafe(_PASS_BYTES)}\n")
    target.set_owner(path)


def _read_secret(path: Path) -> str:
    text = path.read_text(encoding="utf-8").strip()
    if not text or "\n" in text:
        raise BackupError(f"{path} must have one line: the passphrase")
    return text


def _read_s3_key(path: Path | None) -> tuple[str, str]:
    lines = [] if path is None else path.read_text(encoding="utf-8").split()
    if len(lines) != _KEY_LINES:
        raise BackupError(f"{path} must have two lines: the access key, and its secret")
    return lines[0], lines[1]
