"""Runs the private PostgreSQL and Mosquitto of a stack, and stops them in order."""

import signal
from collections.abc import Callable

from app.backups.settings import BackupSettings
from app.settings import TlsListenerSettings
from app.standalone.backup_installation import prepare_stack_archive
from app.standalone.child_process import ChildProcess, StopStep
from app.standalone.data_directory import DataDirectory, place_services
from app.standalone.mosquitto_config import TlsListener
from app.standalone.orphan_processes import MARKER
from app.standalone.private_mosquitto import PrivateMosquitto
from app.standalone.private_postgres import LOGINS, PrivatePostgres
from app.standalone.process_commands import ServiceConnections
from app.standalone.process_keeper import MessageSink, ProcessKeeper
from app.standalone.secret_store import StackSecrets
from app.standalone.unprivileged_accounts import StandaloneError, find_service_account

_STOP_BROKER = (StopStep(signal.SIGTERM, 2.5),)
_STOP_DATABASE = (StopStep(signal.SIGINT, 2.5), StopStep(signal.SIGQUIT, 1.0))
_FORCED_STOP_BROKER = (StopStep(signal.SIGTERM, 0.3),)


class PrivateServices:
    """PostgreSQL and Mosquitto of one data directory.

    Args:
        layout: the data directory, locked by the caller.
        secrets: the passwords of the broker's accounts.
        tls_listener: the broker's listener for boxes on other machines.
        backup: the settings of backups.
    """

    def __init__(
        self,
        layout: DataDirectory,
        secrets: StackSecrets,
        tls_listener: TlsListenerSettings,
        backup: BackupSettings,
    ) -> None:
        self.keepers: dict[str, ProcessKeeper] = {}
        self._secrets = secrets
        folder = place_services(
            layout, find_service_account("postgres"), find_service_account("mosquitto", "nobody")
        )
        # Without the marker: an orphaned server is found by its folder, and stopped by its own signals.
        self._postgres = PrivatePostgres(
            folder / "postgres",
            log=layout.logs / "postgres.log",
            archive=prepare_stack_archive(layout, backup),
        )
        self._mosquitto = PrivateMosquitto(
            folder / "mosquitto",
            accounts={"ingest": secrets.ingest_password, "gateway": secrets.gateway_password},
            durable=True,
            log=layout.logs / "mosquitto.log",
            environment={MARKER: layout.marker()},
            tls=_listener(tls_listener),
        )

    async def begin(self, notify: MessageSink, on_change: Callable[[int], None]) -> ServiceConnections:
        """Start both services, wait until they answer, and restart them after a crash from then on.

        Raises:
            StandaloneError: one of them does not start.
        """
        first = not (self._postgres.data / "PG_VERSION").exists()
        notify("PostgreSQL: making the database …" if first else "PostgreSQL …")
        await self._begin("postgres", self._postgres, notify, on_change)
        notify("Mosquitto …")
        await self._begin("mosquitto", self._mosquitto, notify, on_change)
        return ServiceConnections(
            database=self._postgres.url,
            logins={login.removeprefix("vigie_"): self._postgres.url_of(login) for login in LOGINS},
            broker_port=self._mosquitto.port,
            ingest_password=self._secrets.ingest_password,
            ingest_client_id=self._secrets.ingest_client_id,
            password_file=self._mosquitto.password_file,
            static_password_file=self._mosquitto.static_password_file,
            pid_file=self._mosquitto.pid_file,
        )

    async def stop(self, *, is_forced: bool) -> None:
        """Stop the broker, then the database. Their keepers must have been released.

        Args:
            is_forced: stop each within a moment; the next start recovers.
        """
        await self._mosquitto.stop(_FORCED_STOP_BROKER if is_forced else _STOP_BROKER)
        await self._postgres.stop(_STOP_DATABASE[1:] if is_forced else _STOP_DATABASE)

    async def _begin(
        self,
        name: str,
        service: PrivatePostgres | PrivateMosquitto,
        notify: MessageSink,
        on_change: Callable[[int], None],
    ) -> None:
        async def start() -> ChildProcess:
            await service.start()
            if service.child is None:
                raise StandaloneError(f"{name} was stopped while it started")
            return service.child

        self.keepers[name] = ProcessKeeper(name, start, notify, on_change)
        await self.keepers[name].begin()


def _listener(settings: TlsListenerSettings) -> TlsListener | None:
    if not settings.port or settings.certificate_file is None or settings.key_file is None:
        return None
    return TlsListener(
        host=settings.host,
        port=settings.port,
        certificate_file=settings.certificate_file,
        key_file=settings.key_file,
        client_ca_file=settings.client_ca_file,
        client_crl_file=settings.client_crl_file,
        clients=settings.clients,
    )
