"""Copies the server's certificate for the broker and for Caddy, and marks both for a reload."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from app.server_installation.broker_step import TLS_CONF, render_broker_tls_conf
from app.server_installation.changes import DesiredPath, MachineChange, find_path_changes
from app.server_installation.installation_context import InstallationContext
from app.server_installation.server_options import ServerOptions
from app.server_installation.server_paths import (
    BROKER_ACCOUNT,
    BROKER_UNIT,
    CERTIFICATE_COPY,
    PROXY_ACCOUNT,
    PROXY_UNIT,
    ServerPaths,
)
from app.standalone.unprivileged_accounts import StandaloneError

_BLOCK: Final = re.compile(r"-----BEGIN [A-Z0-9 ]+-----[\x20-\x7e\s]+?-----END [A-Z0-9 ]+-----")


@dataclass(frozen=True, slots=True)
class CertificateFiles:
    """A certificate with its chain, and its private key (PEM)."""

    certificate: Path
    key: Path


def find_certificate_source(options: ServerOptions, paths: ServerPaths) -> CertificateFiles | None:
    """Return the files that the options name, or those that Caddy obtained; None if there are none yet."""
    if options.certificate:
        return CertificateFiles(Path(options.certificate), Path(options.key))
    if not options.name:
        return None
    found = sorted(
        paths.proxy_certificates.glob(f"*/{options.name}/{options.name}.crt"),
        key=lambda path: path.stat().st_mtime,
    )
    return CertificateFiles(found[-1], found[-1].with_suffix(".key")) if found else None


def read_certificate(path: Path) -> x509.Certificate:
    """Read the server's own certificate, the first one of a file.

    Raises:
        StandaloneError: The file cannot be read, or has no certificate.
    """
    try:
        return x509.load_pem_x509_certificates(path.read_bytes())[0]
    except (OSError, ValueError) as error:
        raise StandaloneError(
            f"{path} is no certificate (PEM): {getattr(error, 'strerror', None) or error}"
        ) from None


def check_certificate(source: CertificateFiles, name: str, now: datetime) -> None:
    """Check a certificate before it replaces one that works.

    Raises:
        StandaloneError: It is expired, for another name or for another key; the message says which.
    """
    certificate = read_certificate(source.certificate)
    until = certificate.not_valid_after_utc
    if until <= now:
        raise StandaloneError(f"{source.certificate} expired on {until:%Y-%m-%d %H:%M} UTC: renew it")
    if name and not is_for_name(certificate, name):
        raise StandaloneError(f"{source.certificate} is not for {name}: give one that has this name")
    try:
        key = load_pem_private_key(source.key.read_bytes(), password=None)
    except (OSError, ValueError, TypeError) as error:
        raise StandaloneError(
            f"{source.key} is no private key (PEM, without a passphrase): "
            f"{getattr(error, 'strerror', None) or type(error).__name__}"
        ) from None
    form = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    if key.public_key().public_bytes(*form) != certificate.public_key().public_bytes(*form):
        raise StandaloneError(
            f"{source.key} does not belong to {source.certificate}: give both of the same request"
        )


def is_for_name(certificate: x509.Certificate, name: str) -> bool:
    """Return whether a certificate has this host name, or a wildcard for it."""
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return False
    known = {each.casefold() for each in names.get_values_for_type(x509.DNSName)}
    known |= {str(each) for each in names.get_values_for_type(x509.IPAddress)}
    return name.casefold() in known or f"*.{name.casefold().partition('.')[2]}" in known


def find_certificate_changes(context: InstallationContext) -> list[MachineChange]:
    """Find whether the copies are missing or older than the certificate.

    Raises:
        StandaloneError: The new certificate would not work; the old one stays.
    """
    options, paths = context.options, context.paths
    source = find_certificate_source(options, paths)
    if source is None:
        return []
    check_certificate(source, options.name, datetime.now(UTC))
    copies = [(paths.broker_settings, BROKER_ACCOUNT, BROKER_UNIT)]
    if options.certificate:
        copies.append((paths.proxy_settings / "vigie", PROXY_ACCOUNT, PROXY_UNIT))
    text = join_certificate(source)
    changes = []
    for folder, group, unit in copies:
        changes += find_path_changes(
            [
                DesiredPath(folder, None, 0o750, "root", group),
                DesiredPath(folder / CERTIFICATE_COPY, text, 0o640, "root", group),
            ],
            lambda _, unit=unit: context.reload.add(unit),  # type: ignore[misc]
        )
    return changes


def join_certificate(source: CertificateFiles) -> str:
    """Return the text of the copy: the certificate with its chain, then the key, without comments."""
    # Comments outside of the blocks may be in any encoding.
    parts = (path.read_text(encoding="latin-1") for path in (source.certificate, source.key))
    return "".join(f"{block}\n" for part in parts for block in _BLOCK.findall(part))


def find_listener_changes(context: InstallationContext) -> list[MachineChange]:
    """Find whether the broker has a certificate, but no TLS listener yet. A restart opens the listener."""
    copy = context.paths.broker_settings / CERTIFICATE_COPY
    if not context.options.name or not copy.exists():
        return []
    text = render_broker_tls_conf(context.options, context.paths)
    wanted = DesiredPath(context.paths.broker_conf / TLS_CONF, text, 0o644, "root", "root")
    return find_path_changes([wanted], lambda _: context.restart.add(BROKER_UNIT))
