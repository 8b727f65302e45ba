"""Starts, watches and stops all processes of `vigie up`.

Start order: orphans of an earlier run are stopped, then PostgreSQL and Mosquitto start, then migrations, then
Vigie's processes. When all are ready, `run.json` is written and the demo starts. Stop order: demo and
processes (they drain while database and broker still run), Mosquitto, PostgreSQL, all within 15 seconds.
"""

import asyncio
import contextlib
import signal
import time
from collections.abc import Awaitable, Mapping
from dataclasses import replace
from pathlib import Path

import aiohttp
from prometheus_client.multiprocess import mark_process_dead
from pydantic import SecretStr

from app.platform.kernel.atomic_files import replace_file_text
from app.platform.observability.metric_file_preallocation import trim_metric_files
from app.settings import VigieSettings
from app.standalone.backup_installation import list_bundle_variables
from app.standalone.child_process import ChildProcess, StopStep, read_log_tail
from app.standalone.data_directory import (
    DataDirectory,
    StackAddresses,
    clear_metrics,
    read_demo_access,
    remove_metrics,
    remove_run_file,
    write_run_file,
)
from app.standalone.free_ports import find_free_port, require_free_port
from app.standalone.orphan_processes import stop_marked_orphans
from app.standalone.parent_make_monitor import MakeWatch
from app.standalone.private_mosquitto import PrivateMosquitto
from app.standalone.private_services import PrivateServices
from app.standalone.process_commands import (
    ServiceConnections,
    StackOptions,
    build_command,
    build_process_environment,
    build_stack_environment,
)
from app.standalone.process_keeper import ProcessKeeper
from app.standalone.secret_store import (
    StackSecrets,
    load_or_create_secrets,
    load_secrets,
    lock_secrets,
    write_key_file,
)
from app.standalone.status_screen import StartupScreen
from app.standalone.traffic_counts import DatabaseTotals, is_api_ready, scrape_metrics
from app.standalone.unprivileged_accounts import StandaloneError

# `deliver` takes 6 s at most (`app.notifications.delivery.dispatcher.END_S`) to finish or return its leases.
# With 2.5 s for the broker and 3.5 s for the database a stop stays below 15 s.
_STOP_ROLE = (StopStep(signal.SIGTERM, 7.0),)
_READY_TIMEOUT_S = 90.0
_SETTLE_S = 1.0
_MAX_CRASHES = 3
_CHECK_MAKE_S = 0.5
_REPAIR_S = 1.0


class Supervisor:
    """One run of the stack. The caller has locked `layout`."""

    def __init__(
        self, options: StackOptions, layout: DataDirectory, settings: VigieSettings, display: StartupScreen
    ) -> None:
        self._options = options
        self._layout = layout
        self._settings = settings
        self._display = display
        self._logins: Mapping[str, str] = {}
        self._secrets: StackSecrets | None = None
        self._services: PrivateServices | None = None
        self._roles: dict[str, ProcessKeeper] = {}
        self._demo: ProcessKeeper | None = None
        self._migration: ChildProcess | None = None
        self._addresses: StackAddresses | None = None
        self._ready = False
        self._has_stale_run_file = False
        self._stop = asyncio.Event()
        self._force_stop = asyncio.Event()

    async def run(self) -> int:
        """Start everything, run until a stop request, stop everything.

        Returns:
            0 after a stop request; 1 if the stack did not start.
        """
        loop = asyncio.get_running_loop()
        numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        for number in numbers:
            loop.add_signal_handler(number, self._request_stop)
        status = 0
        watching = [asyncio.create_task(work) for work in (self._watch_make(), self._repair_run_file())]
        try:
            await self._run_until_stop(self._start())
            if not self._stop.is_set():
                await self._run_until_stop(self._watch())
        except StandaloneError as error:
            self._display.close()
            self._display.say(f"vigie: {error}")
            status = 1
        finally:
            for task in watching:
                task.cancel()
            await self._stop_all()
            remove_metrics(self._layout)
            for number in numbers:
                loop.remove_signal_handler(number)
        return status

    def _request_stop(self) -> None:
        if self._stop.is_set():
            self._force_stop.set()
        self._stop.set()

    async def _watch_make(self) -> None:
        make = MakeWatch()
        while not make.is_stop_requested():  # noqa: ASYNC110  # another process cannot set our event
            await asyncio.sleep(_CHECK_MAKE_S)
        self._stop.set()

    async def _run_until_stop(self, work: Awaitable[None]) -> None:
        """Run `work`, and cancel it on a stop request."""
        task = asyncio.ensure_future(work)
        stop_requested = asyncio.create_task(self._stop.wait())
        try:
            await asyncio.wait({task, stop_requested}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            stop_requested.cancel()
            if not task.done():
                task.cancel()
            results = await asyncio.gather(task, stop_requested, return_exceptions=True)
        if isinstance(results[0], Exception):
            raise results[0]

    async def _start(self) -> None:
        remove_run_file(self._layout.run_file)
        if left := await stop_marked_orphans(self._layout.marker()):
            self._display.say(f"Stopped {len(left)} processes of an earlier run.")
        clear_metrics(self._layout)
        host, port = self._settings.api.host, self._api_port()
        given = self._settings.bootstrap_admin_key
        self._secrets = load_or_create_secrets(
            self._layout.secrets_file, given.get_secret_value() if given else None
        )
        with lock_secrets(self._layout.secrets_file):
            write_key_file(self._layout, self._settings.encryption)
        services = None
        if self._options.services:
            self._services = PrivateServices(
                self._layout, self._secrets, self._settings.tls_listener, self._settings.backup
            )
            services = await self._services.begin(self._display.say, self._changed)
            self._logins = services.logins
        variables = build_stack_environment(
            marker=self._layout.marker(),
            metrics=self._layout.metrics.absolute(),
            host=host,
            port=port,
            admin_key=self._secrets.admin_key,
            keys_file=self._layout.keys_file,
            roles=self._options.roles,
            services=services,
        ) | list_bundle_variables(self._layout, self._settings.backup, services=self._options.services)
        await self._migrate(variables)
        await self._start_roles(variables, host, port)
        self._addresses = self._describe(host, port, services)
        self._ready = True
        if self._options.demo:
            # Known from the second start on.
            self._display.demo = read_demo_access(self._layout.demo_file)
        self._write_run_file()
        self._display.ready(self._addresses)
        if self._options.demo:
            self._demo = self._keeper(
                "demo", ("simulate", "demo", "--run", str(self._layout.run_file)), variables
            )
            await self._demo.begin()

    def _api_port(self) -> int:
        host, port, memory = self._settings.api.host, self._options.port, self._layout.port_file
        if "api" not in self._options.roles:
            return port
        if port == 0:
            port = find_free_port(int(memory.read_text()) if memory.exists() else None)
            replace_file_text(memory, str(port))
        else:
            require_free_port(port, host)
        return port

    async def _migrate(self, variables: dict[str, str]) -> None:
        self._display.say("Migrations …")
        log = self._layout.logs / "migrate.log"
        own = build_process_environment("migrate", variables)
        self._migration = await ChildProcess.start(build_command("migrate"), environment=own, log=log)
        status = await self._migration.wait()
        if status != 0:
            raise StandaloneError(f"the migrations failed ({status}); {log} ends with:\n{read_log_tail(log)}")
        self._migration = None

    def _keeper(self, name: str, words: tuple[str, ...], variables: dict[str, str]) -> ProcessKeeper:
        async def start() -> ChildProcess:
            own = build_process_environment(name, variables, self._logins)
            return await ChildProcess.start(build_command(*words), environment=own, log=self._log(name))

        return ProcessKeeper(name, start, self._display.say, self._changed)

    def _log(self, name: str) -> Path:
        return self._layout.logs / f"{name}.log"

    async def _start_roles(self, variables: dict[str, str], host: str, port: int) -> None:
        self._display.say(f"Processes: {', '.join(self._options.roles)} …")
        for role in self._options.roles:
            self._roles[role] = self._keeper(role, (role,), variables)
            await self._roles[role].begin()
        deadline = time.monotonic() + _READY_TIMEOUT_S
        settled = time.monotonic() + _SETTLE_S
        async with aiohttp.ClientSession() as session:
            while True:
                for role, keeper in self._roles.items():
                    if keeper.crashes >= _MAX_CRASHES:
                        raise StandaloneError(
                            f"{role} does not start; {self._log(role)} ends "
                            f"with:\n{read_log_tail(self._log(role))}"
                        )
                if "api" in self._roles:
                    done = await is_api_ready(session, _url(host, port))
                else:
                    # Without the API there is no readiness check: the processes must only stay alive.
                    done = time.monotonic() > settled
                if done and all(keeper.pid is not None for keeper in self._roles.values()):
                    return
                if time.monotonic() > deadline:
                    raise StandaloneError(
                        f"the processes are not ready after {_READY_TIMEOUT_S:g} s: "
                        f"see the logs in {self._layout.logs}"
                    )
                await asyncio.sleep(0.1)

    def _describe(self, host: str, port: int, services: ServiceConnections | None) -> StackAddresses:
        broker = self._settings.broker
        if self._secrets is None:
            raise StandaloneError("the secrets were not read")
        own = services is not None
        return StackAddresses(
            api=_url(host, port) if "api" in self._options.roles else None,
            admin_key=self._secrets.admin_key,
            mqtt_host=PrivateMosquitto.host if own else broker.host,
            mqtt_port=services.broker_port if services else broker.port,
            mqtt_username="gateway" if own else broker.username,
            mqtt_password=self._secrets.gateway_password if own else broker.password.get_secret_value(),
            database=services.database if services else self._settings.database.url,
        )

    def _keepers(self) -> dict[str, ProcessKeeper]:
        return {**(self._services.keepers if self._services else {}), **self._roles}

    def _changed(self, pid: int) -> None:
        keepers = self._keepers()
        if all(keeper.pid != pid for keeper in keepers.values()):
            # It has ended: its gauges must not be shown any more.
            with contextlib.suppress(OSError):
                mark_process_dead(pid, str(self._layout.metrics))  # type: ignore[no-untyped-call]
                trim_metric_files(self._layout.metrics, pid)
        self._write_run_file()

    def _write_run_file(self) -> None:
        if not self._ready or self._addresses is None:
            return
        keepers = self._keepers()
        pids = {name: keeper.pid for name, keeper in keepers.items()}
        try:
            addresses = replace(self._addresses, admin_key=self._admin_key())
            running = {name: pid for name, pid in pids.items() if pid is not None}
            write_run_file(self._layout.run_file, addresses, running, self._display.demo)
        except (OSError, ValueError, StandaloneError) as error:
            if not self._has_stale_run_file:
                self._display.say(f"{self._layout.run_file} cannot be written; retrying: {error}")
            self._has_stale_run_file = True
        else:
            self._has_stale_run_file = False

    def _admin_key(self) -> str:
        """Read the administrator's key again, since `vigie secrets rotate` may have replaced it."""
        return load_secrets(self._layout.secrets_file).admin_key

    async def _watch(self) -> None:
        token = self._settings.api.metrics_token
        totals = DatabaseTotals(self._addresses.database if self._addresses else None)
        async with aiohttp.ClientSession() as session, contextlib.aclosing(totals):
            while True:
                try:
                    await self._show(session, token, totals)
                except Exception as error:  # noqa: BLE001  # an error of the display must not end the stack
                    self._display.say(f"the metrics cannot be shown: {error!r}")
                await asyncio.sleep(self._display.every_s)

    async def _show(
        self, session: aiohttp.ClientSession, token: SecretStr | None, totals: DatabaseTotals
    ) -> None:
        api = self._addresses.api if self._addresses else None
        figures = await totals.complete(await scrape_metrics(session, api, token)) if api else None
        if self._options.demo:
            self._read_demo_access()
        with contextlib.suppress(OSError, ValueError, StandaloneError):
            self._display.admin_key = self._admin_key()
        self._display.update(figures, time.monotonic())

    def _read_demo_access(self) -> None:
        """Read the access to the demo city, which the demo creates some seconds after the start."""
        found = read_demo_access(self._layout.demo_file)
        if found != self._display.demo:
            self._display.demo = found
            self._write_run_file()

    async def _repair_run_file(self) -> None:
        """Retry writing `run.json` while the last attempt failed, for example on a full disk."""
        while True:
            if self._has_stale_run_file:
                self._write_run_file()
            await asyncio.sleep(_REPAIR_S)

    async def _stop_all(self) -> None:
        self._display.close()
        self._ready = False
        remove_run_file(self._layout.run_file)
        services = list(self._services.keepers.values()) if self._services else []
        others = [*self._roles.values(), *([self._demo] if self._demo else [])]
        keepers = [*services, *others]
        if keepers:
            self._display.say("Stopping …")
        await asyncio.gather(*(keeper.release() for keeper in keepers))
        children = [
            child for child in [*(keeper.child for keeper in others), self._migration] if child is not None
        ]
        await self._stop_or_kill(asyncio.gather(*(child.stop(_STOP_ROLE) for child in children)), children)
        if self._services is not None:
            await self._services.stop(is_forced=self._force_stop.is_set())
        if keepers:
            self._display.say("Stopped.")

    async def _stop_or_kill(self, stopping: Awaitable[object], children: list[ChildProcess]) -> None:
        """Wait for `stopping`; on a second Ctrl-C kill the children instead."""
        work = asyncio.ensure_future(stopping)
        stop_requested = asyncio.create_task(self._force_stop.wait())
        await asyncio.wait({work, stop_requested}, return_when=asyncio.FIRST_COMPLETED)
        if not work.done():
            for child in children:
                if child.returncode is None:
                    child.kill()
        await work
        stop_requested.cancel()
        await asyncio.gather(stop_requested, return_exceptions=True)


def _url(host: str, port: int) -> str:
    """Return the address at which this machine reaches a server that listens on `host`."""
    reached = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, host)  # noqa: S104  # compared, not bound to
    return f"http://{reached}:{port}"
