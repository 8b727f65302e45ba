"""Acts as a box, a client and an administrator of the server in a rehearsal."""

import asyncio
import contextlib
import json
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import aiomqtt
import httpx
import trustme

from tools.rehearsals.report import RehearsalError

NAME: Final = "vigie.test"
MQTTS: Final = 8883
HTTPS: Final = 443
_BOX_TIMEOUT_S: Final = 10
_MS: Final = 1000


@dataclass(slots=True)
class CertificateAuthority:
    """A certificate authority of the rehearsal, and the files of the server's certificate."""

    folder: Path
    authority: trustme.CA = field(default_factory=trustme.CA)

    def issue(self) -> int:
        """Write a new certificate for the server; returns its serial number."""
        self.folder.mkdir(parents=True, exist_ok=True)
        leaf = self.authority.issue_cert(NAME, not_after=datetime.now(UTC) + timedelta(days=90))
        leaf.private_key_pem.write_to_path(str(self.folder / "key.pem"))
        chain = b"".join(blob.bytes() for blob in leaf.cert_chain_pems)
        (self.folder / "certificate.pem").write_bytes(chain)
        self.authority.cert_pem.write_to_path(str(self.folder / "ca.pem"))
        return self._serial(ssl.PEM_cert_to_DER_cert(leaf.cert_chain_pems[0].bytes().decode()))

    def context(self) -> ssl.SSLContext:
        """Return a client's context that trusts this authority only."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self.authority.configure_trust(context)
        return context

    def served_by(self, port: int) -> int:
        """Return the serial number of the certificate that a port serves."""
        with (
            socket.create_connection(("127.0.0.1", port), timeout=5) as plain,
            self.context().wrap_socket(plain, server_hostname=NAME) as connection,
        ):
            found = connection.getpeercert(binary_form=True)
        if found is None:
            raise RehearsalError(f"port {port} serves no certificate")
        return self._serial(found)

    @staticmethod
    def _serial(certificate: bytes) -> int:
        from cryptography import x509  # noqa: PLC0415 (only for this)

        return x509.load_der_x509_certificate(certificate).serial_number


class ApiClient:
    """Calls the API through the proxy, by its name."""

    def __init__(self, authority: CertificateAuthority, key: str) -> None:
        self._client = httpx.Client(
            base_url=f"https://127.0.0.1:{HTTPS}",
            headers={"Authorization": f"Bearer {key}", "Host": NAME},
            verify=authority.context(),
            timeout=30,
        )

    def fetch(self, path: str) -> bytes:
        """Fetch a file (RehearsalError if the API refuses)."""
        answer = self._client.get(path, extensions={"sni_hostname": NAME})
        if answer.is_error:
            raise RehearsalError(f"GET {path} answered {answer.status_code}: {answer.text}")
        return answer.content

    def is_ready(self) -> bool:
        """Return whether `/readyz` answers 200."""
        return self._client.get("/readyz", extensions={"sni_hostname": NAME}).is_success

    def call(self, method: str, path: str, **body: Any) -> Any:  # noqa: ANN401 (JSON)
        """Call the API; returns the JSON of its answer (RehearsalError if it refuses)."""
        answer = self._client.request(method, path, json=body or None, extensions={"sni_hostname": NAME})
        if answer.is_error:
            raise RehearsalError(f"{method} {path} answered {answer.status_code}: {answer.text}")
        return answer.json() if answer.content else None


@dataclass(slots=True)
class LedgerBox:
    """Publishes as a box over TLS, and counts the samples that the broker acknowledged.

    After its connection breaks, it publishes the unacknowledged sample again.
    """

    authority: CertificateAuthority
    box: str
    password: str
    acknowledged: int = 0
    connections: int = 0
    _stop: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    @contextlib.contextmanager
    def publishing(self, every_s: float = 0.02) -> Iterator["LedgerBox"]:
        """Publish until the end of the block."""
        self._stop.clear()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._publish(every_s)), daemon=True)
        self._thread.start()
        try:
            yield self
        finally:
            self._stop.set()
            self._thread.join(30)

    async def _publish(self, every_s: float) -> None:
        at_ms = time.time_ns() // 1_000_000
        while not self._stop.is_set():
            try:
                async with self._client() as client:
                    self.connections += 1
                    while not self._stop.is_set():
                        at = datetime.fromtimestamp(at_ms / _MS, UTC).isoformat(timespec="milliseconds")
                        payload = json.dumps({"time": at, "values": {"co2": 600 + self.acknowledged % 200}})
                        await client.publish(f"vigie/v1/{self.box}/telemetry", payload, qos=1)
                        self.acknowledged += 1
                        # Each sample has a time of its own.
                        at_ms = max(at_ms + 1, time.time_ns() // 1_000_000)
                        await asyncio.sleep(every_s)
            except (aiomqtt.MqttError, OSError):
                await asyncio.sleep(0.2)

    def _client(self) -> aiomqtt.Client:
        return aiomqtt.Client(
            "127.0.0.1",
            MQTTS,
            username=self.box,
            password=self.password,
            identifier=self.box,
            tls_context=_for_address(self.authority.context()),
            timeout=_BOX_TIMEOUT_S,
        )


def _for_address(context: ssl.SSLContext) -> ssl.SSLContext:
    """Allow a connection to an address: the MQTT client has no option for the certificate's host name."""
    context.check_hostname = False
    return context
