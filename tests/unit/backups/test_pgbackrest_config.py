import configparser
import shlex
from pathlib import Path

from app.backups.pgbackrest_config import (
    build_archive_command,
    build_patroni_command,
    list_archive_settings,
    render_pgbackrest_config,
)
from app.backups.settings import BackupSettings, S3Settings
from app.server_installation.deploy_files import find_deploy_file


def parse(text: str) -> configparser.ConfigParser:
    parsed = configparser.ConfigParser(interpolation=None)
    parsed.read_string(text)
    return parsed


def test_a_folder_is_always_encrypted() -> None:
    settings = BackupSettings(path=Path("/backups"), retention_full=3, retention_archive=2)
    text = render_pgbackrest_config(settings, cluster_dir=Path("/data"), cipher_pass="pass", s3_key=None)
    made = parse(text)
    assert made["global"]["repo1-path"] == "/backups"
    assert made["global"]["repo1-type"] == "posix"
    assert made["global"]["repo1-cipher-type"] == "aes-256-cbc"
    assert made["global"]["repo1-cipher-pass"] == "pass"
    assert made["global"]["repo1-retention-full"] == "3"
    assert made["global"]["repo1-retention-archive"] == "2"
    assert made["vigie"]["pg1-path"] == "/data"


def test_units_with_a_tmp_of_their_own_and_commands_share_the_locks() -> None:
    text = render_pgbackrest_config(
        BackupSettings(), cluster_dir=Path("/data"), cipher_pass="pass", s3_key=None
    )
    locks = Path(parse(text)["global"]["lock-path"])
    for name in ("vigie-backup.service", "vigie-backup-verify.service"):
        unit = find_deploy_file(f"server/systemd/{name}").read_text()
        (writable,) = [line for line in unit.splitlines() if line.startswith("ReadWritePaths=")]
        folders = [Path(word) for word in writable.partition("=")[2].split()]
        # The other one is private, as /tmp is.
        assert locks.is_relative_to(folders[0])


def test_all_wal_is_kept_by_default() -> None:
    text = render_pgbackrest_config(
        BackupSettings(), cluster_dir=Path("/data"), cipher_pass="pass", s3_key=None
    )
    assert "repo1-retention-archive" not in parse(text)["global"]


def test_s3_by_its_host_port_and_style() -> None:
    s3 = S3Settings(
        endpoint="minio.example.com:9000", bucket="b", region="r", ca_file=Path("/ca"), path_style=True
    )
    settings = BackupSettings(repository="s3", s3=s3)
    made = parse(
        render_pgbackrest_config(settings, cluster_dir=Path("/d"), cipher_pass="p", s3_key=("id", "secret"))
    )["global"]
    assert made["repo1-s3-endpoint"] == "minio.example.com"
    assert made["repo1-storage-port"] == "9000"
    assert made["repo1-s3-uri-style"] == "path"
    assert made["repo1-storage-ca-file"] == "/ca"
    assert (made["repo1-s3-key"], made["repo1-s3-key-secret"]) == ("id", "secret")


def test_a_path_with_quotes_and_percents_reaches_pgbackrest() -> None:
    assert build_archive_command(Path("/etc/a b%.conf")) == (
        "pgbackrest --config='/etc/a b%%.conf' --stanza=vigie archive-push %p"
    )
    settings = list_archive_settings(Path("/etc/a b.conf"))
    assert settings["archive_command"] == (
        "'pgbackrest --config=''/etc/a b.conf'' --stanza=vigie archive-push %p'"
    )
    assert settings["archive_mode"] == "on"


def test_patroni_gets_the_same_settings() -> None:
    words = shlex.split(build_patroni_command(Path("/etc/a b.conf")))
    assert words[:5] == ["patronictl", "-c", "/etc/patroni/vigie.yml", "edit-config", "--force"]
    assert words[6::2] == [
        "archive_mode=on",
        "archive_command=pgbackrest --config='/etc/a b.conf' --stanza=vigie archive-push %p",
        "archive_timeout=60s",
    ]
