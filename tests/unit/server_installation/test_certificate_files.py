import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import trustme

from app.server_installation.certificate_files import (
    CertificateFiles,
    check_certificate,
    find_certificate_changes,
    find_certificate_source,
    join_certificate,
)
from app.server_installation.installation_context import InstallationContext
from app.server_installation.server_options import ServerOptions
from app.server_installation.server_paths import CERTIFICATE_COPY, ServerPaths
from app.standalone.unprivileged_accounts import StandaloneError

NOW = datetime.now(UTC)


def issue(folder: Path, *names: str, days: int = 30) -> CertificateFiles:
    folder.mkdir(parents=True, exist_ok=True)
    leaf = trustme.CA().issue_cert(
        *names, not_after=NOW + timedelta(days=days), not_before=NOW - timedelta(days=90)
    )
    files = CertificateFiles(folder / "c.pem", folder / "k.pem")
    files.certificate.write_bytes(b"".join(blob.bytes() for blob in leaf.cert_chain_pems))
    files.key.write_bytes(leaf.private_key_pem.bytes())
    return files


@pytest.mark.parametrize("name", ["a.example", "b.example", "x.wild.example", "192.0.2.7"])
def test_a_certificate_for_the_name_is_accepted(tmp_path: Path, name: str) -> None:
    check_certificate(issue(tmp_path, "a.example", "b.example", "*.wild.example", "192.0.2.7"), name, NOW)


def test_one_that_would_not_work_is_refused_with_the_reason(tmp_path: Path) -> None:
    good = issue(tmp_path / "good", "a.example")
    other = issue(tmp_path / "other", "a.example")
    with pytest.raises(StandaloneError, match=r"is not for b\.example"):
        check_certificate(good, "b.example", NOW)
    with pytest.raises(StandaloneError, match=r"is not for y\.x\.wild"):
        check_certificate(issue(tmp_path, "*.wild.example"), "y.x.wild.example", NOW)
    with pytest.raises(StandaloneError, match="expired on"):
        check_certificate(issue(tmp_path, "a.example", days=-1), "a.example", NOW)
    with pytest.raises(StandaloneError, match="does not belong to"):
        check_certificate(CertificateFiles(good.certificate, other.key), "a.example", NOW)
    with pytest.raises(StandaloneError, match="is no private key"):
        check_certificate(CertificateFiles(good.certificate, good.certificate), "a.example", NOW)
    with pytest.raises(StandaloneError, match="is no certificate"):
        check_certificate(CertificateFiles(good.key, good.key), "a.example", NOW)
    with pytest.raises(StandaloneError, match="No such file"):
        check_certificate(CertificateFiles(tmp_path / "gone", good.key), "a.example", NOW)


def test_the_source_is_the_given_one_or_the_newest_of_the_proxy(tmp_path: Path) -> None:
    paths = ServerPaths(tmp_path)
    assert find_certificate_source(ServerOptions(), paths) is None
    assert find_certificate_source(ServerOptions(name="a.example"), paths) is None
    folder = paths.proxy_certificates / "acme-v02/a.example"
    folder.mkdir(parents=True)
    (folder / "a.example.crt").touch()
    found = find_certificate_source(ServerOptions(name="a.example"), paths)
    assert found == CertificateFiles(folder / "a.example.crt", folder / "a.example.key")
    given = ServerOptions(name="a.example", certificate="/c.pem", key="/k.pem")
    assert find_certificate_source(given, paths) == CertificateFiles(Path("/c.pem"), Path("/k.pem"))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give files to the broker")
def test_a_renewed_certificate_is_copied_for_both_and_a_broken_one_for_nobody(tmp_path: Path) -> None:
    files = issue(tmp_path / "source", "a.example")
    options = ServerOptions(name="a.example", certificate=str(files.certificate), key=str(files.key))
    context = InstallationContext(ServerPaths(tmp_path), options, 2**32)
    copies = [tmp_path / "etc/mosquitto/vigie", tmp_path / "etc/caddy/vigie"]
    for change in find_certificate_changes(context):
        change.apply()
    assert context.reload == {"mosquitto.service", "caddy.service"}
    before = files.certificate.read_text() + files.key.read_text()
    assert [read_copy(folder) for folder in copies] == [before, before]
    assert find_certificate_changes(context) == []

    issue(tmp_path / "source", "a.example")
    key = files.key.read_bytes()
    files.key.write_bytes(b"")
    with pytest.raises(StandaloneError, match="is no private key"):
        find_certificate_changes(context)
    assert read_copy(copies[0]) == before
    files.key.write_bytes(key)
    for change in find_certificate_changes(context):
        change.apply()
    after = files.certificate.read_text() + files.key.read_text()
    assert after != before
    assert [read_copy(folder) for folder in copies] == [after, after]


def test_comments_of_any_encoding_are_left_out_of_the_copy(tmp_path: Path) -> None:
    files = issue(tmp_path, "a.example")
    plain = join_certificate(files)
    for path, comment in ((files.certificate, "CN = Zürich\n".encode()), (files.key, b"Schl\xfcssel\n")):
        path.write_bytes(comment + path.read_bytes())
    check_certificate(files, "a.example", NOW)
    assert join_certificate(files) == plain
    assert plain.count("-----BEGIN") == plain.count("-----END") >= 2


def read_copy(folder: Path) -> str:
    return (folder / CERTIFICATE_COPY).read_text()
