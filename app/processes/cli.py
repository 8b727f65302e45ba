"""Defines the command `vigie`: it runs one process, the whole stack, or a tool such as `doctor`."""

import signal
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from app.client.cli import CLIENT_COMMANDS, add_client_commands
from app.processes.command_output import fail

if TYPE_CHECKING:
    from app.platform.config.platform_settings import SmtpSettings

app = typer.Typer(
    name="vigie",
    help="Smart- and safe-city IoT ingestion: MQTT in, rules, alerts, signed webhooks.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)

# These report misspelt settings themselves: in their log, or among the findings of `doctor`. Commands of the
# client have no settings.
_WARNING_THEMSELVES = CLIENT_COMMANDS | {
    *("api", "api-worker", "edge", "ingest", "deliver", "maintain", "migrate", "doctor", "install")
}
_DataDir = Annotated[Path, typer.Option(help="Data directory of the stack")]

add_client_commands(app)

# Imports are inside the commands: `vigie doctor` must work if a part of the program cannot be imported, and
# a process should not import the modules of others.


@app.command()
def up(
    *,
    data_dir: _DataDir = Path(".vigie"),
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port of the API; 0 picks a free one")] = 8000,
    roles: Annotated[
        str, typer.Option(help="Processes to run, separated by commas")
    ] = "api,ingest,deliver,maintain",
    demo: Annotated[bool, typer.Option("--demo/--no-demo", help="Start the demo city")] = True,
    services: Annotated[
        bool,
        typer.Option(
            "--services/--no-services", help="Run a private PostgreSQL and Mosquitto, or use the settings'"
        ),
    ] = True,
) -> None:
    """Run the whole stack: private PostgreSQL and Mosquitto, migrations, processes, demo."""
    from app.standalone.up_command import StackOptions, run_stack  # noqa: PLC0415

    names = tuple(role.strip() for role in roles.split(",") if role.strip())
    options = StackOptions(data_dir=data_dir, port=port, roles=names, demo=demo, services=services)
    raise typer.Exit(run_stack(options))


@app.command()
def api(
    *,
    workers: Annotated[
        int | None, typer.Option(min=1, max=64, help="Processes that serve it; by default VIGIE_API__WORKERS")
    ] = None,
) -> None:
    """Run the REST process, or several workers that share its port."""
    from app.standalone.startup_settings_check import load_admitted_settings  # noqa: PLC0415

    settings = load_admitted_settings("api")
    if workers is not None:
        settings.api.workers = workers
    # Slow imports, needed only after the checks.
    if settings.api.workers > 1:
        from app.processes.api_workers import run_api_workers  # noqa: PLC0415

        run_api_workers(settings)
        return
    from app.platform.runtime.process_runner import run_process  # noqa: PLC0415
    from app.processes.api_server import run_api  # noqa: PLC0415

    run_process("api", settings, run_api)


@app.command(hidden=True)
def api_worker(
    *,
    listener: Annotated[int, typer.Option(help="File descriptor of the port")],
    buckets: Annotated[int, typer.Option(help="File descriptor of the rate limits")],
) -> None:
    """Run one worker of `vigie api`, which starts it."""
    from app.platform.runtime.process_runner import run_process  # noqa: PLC0415
    from app.processes.api_server import SharedDescriptors, run_api  # noqa: PLC0415
    from app.standalone.startup_settings_check import load_admitted_settings  # noqa: PLC0415

    settings = load_admitted_settings("api")
    # Only one worker could open it. `/metrics` of the API has the figures of all.
    settings.metrics_port = 0
    run_process("api", settings, partial(run_api, shared=SharedDescriptors(listener, buckets)))


@app.command()
def edge() -> None:
    """Run the edge process of one of several brokers, which drains it into the message log."""
    from app.platform.runtime.process_runner import run_process  # noqa: PLC0415
    from app.processes.edge import run_edge  # noqa: PLC0415
    from app.standalone.startup_settings_check import load_admitted_settings  # noqa: PLC0415

    settings = load_admitted_settings("edge")
    if settings.message_log.engine == "none":
        fail(
            "an edge needs a message log: set VIGIE_MESSAGE_LOG__ENGINE and its servers. With one broker, "
            "`vigie ingest` reads it itself.",
            2,
        )
    # It writes accounts and configurations as maintain does, and needs no login of its own.
    run_process("edge", settings, run_edge, database_role="vigie_maintain")


@app.command()
def ingest() -> None:
    """Run the ingest process, which drains the broker into the database. A second one stands by."""
    from app.platform.runtime.process_runner import run_process  # noqa: PLC0415
    from app.processes.ingest import run_ingest  # noqa: PLC0415
    from app.standalone.startup_settings_check import load_admitted_settings  # noqa: PLC0415

    run_process("ingest", load_admitted_settings("ingest"), run_ingest)


@app.command("close-log")
def close_log(
    *,
    discard_unread: Annotated[
        bool, typer.Option("--discard-unread", help="Close it although records were not read: they are lost")
    ] = False,
) -> None:
    """End the use of the message log, before its engine, name or number of partitions is changed."""
    from app.processes.close_log_command import run_close_log  # noqa: PLC0415
    from app.settings import read_settings  # noqa: PLC0415

    run_close_log(read_settings(), discard_unread=discard_unread)


@app.command()
def deliver() -> None:
    """Run the delivery process: signed webhooks, channels, invitations."""
    from app.platform.runtime.process_runner import run_process  # noqa: PLC0415
    from app.processes.deliver import run_deliver  # noqa: PLC0415
    from app.standalone.startup_settings_check import load_admitted_settings  # noqa: PLC0415

    run_process("deliver", load_admitted_settings("deliver"), run_deliver)


@app.command()
def maintain() -> None:
    """Run the maintenance process: timers, roll-ups, retention, broker accounts, clean-up."""
    from app.platform.runtime.process_runner import run_process  # noqa: PLC0415
    from app.processes.maintain import run_maintain  # noqa: PLC0415
    from app.standalone.startup_settings_check import load_admitted_settings  # noqa: PLC0415

    run_process("maintain", load_admitted_settings("maintain"), run_maintain)


@app.command()
def migrate(revision: Annotated[str, typer.Argument(help="Target revision of the schema")] = "head") -> None:
    """Upgrade the database to the newest schema."""
    from app.platform.db.schema_upgrade import SchemaTooNewError, upgrade  # noqa: PLC0415
    from app.standalone.startup_settings_check import load_admitted_settings  # noqa: PLC0415

    try:
        newer = upgrade(load_admitted_settings("migrate").database, revision)
    except SchemaTooNewError as error:
        fail(error)
    later = "" if newer is None else ", newer than this program, which can run on it. Nothing changed"
    typer.echo(f"The database is at {newer or revision}{later}.")


@app.command()
def install(
    *,
    server: Annotated[
        bool, typer.Option("--server", help="Install this machine as a server (Debian 13, systemd)")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the changes without making any")] = False,
    name: Annotated[
        str | None, typer.Option(help="Public host name, with TLS; empty: 127.0.0.1 only")
    ] = None,
    certificate: Annotated[
        str | None, typer.Option(help="Certificate with its chain (PEM); empty: Caddy obtains one")
    ] = None,
    key: Annotated[str | None, typer.Option(help="Its private key (PEM)")] = None,
    api_port: Annotated[int | None, typer.Option(help="Port of the API on 127.0.0.1")] = None,
    mqtt_port: Annotated[int | None, typer.Option(help="Port of the broker on 127.0.0.1")] = None,
    mqtts_port: Annotated[int | None, typer.Option(help="Port of the broker for boxes, with TLS")] = None,
    workers: Annotated[int | None, typer.Option(help="Processes that serve the API")] = None,
    edge: Annotated[
        str | None, typer.Option(help="One of several machines: the name of its edge; empty: one broker")
    ] = None,
    edge_host: Annotated[
        str | None, typer.Option(help="Address at which the other machines reach this one")
    ] = None,
    log_servers: Annotated[
        str | None, typer.Option(help="Nodes of the message log: host:port, separated by commas")
    ] = None,
    database_hosts: Annotated[
        str | None, typer.Option(help="Hosts of a database under Patroni: host:port, separated by commas")
    ] = None,
    load_balancer: Annotated[str | None, typer.Option(help="Address of the load balancer")] = None,
) -> None:
    """Install Vigie as services of this machine, or update them. A second run changes nothing.

    Options that are left out have the values of the last run (/etc/vigie/server.toml).
    """
    from app.processes.install_command import run_install  # noqa: PLC0415

    if not server:
        fail("name what to install: `vigie install --server`", 2)
    given = {
        "name": name,
        "certificate": certificate,
        "key": key,
        "api_port": api_port,
        "mqtt_port": mqtt_port,
        "mqtts_port": mqtts_port,
        "workers": workers,
        "edge": edge,
        "edge_host": edge_host,
        "log_servers": log_servers,
        "database_hosts": database_hosts,
        "load_balancer": load_balancer,
    }
    raise typer.Exit(run_install(given, dry_run=dry_run))


@app.command(name="certificate-renewed")
def certificate_renewed() -> None:
    """Take up a renewed certificate of a server, without closing a connection of a box."""
    from app.processes.install_command import run_certificate_renewed  # noqa: PLC0415

    raise typer.Exit(run_certificate_renewed())


@app.command()
def invite(
    email: Annotated[str, typer.Argument(help="E-mail address of the person")],
    *,
    role: Annotated[
        str, typer.Option(help="owner (an administrator), operator, viewer or installer")
    ] = "owner",
    data_dir: _DataDir = Path(".vigie"),
) -> None:
    """Invite a person to a running stack or server, such as its first owner. Prints the link."""
    from app.processes.install_command import find_run_access  # noqa: PLC0415
    from app.standalone.invite_command import invite_person  # noqa: PLC0415
    from app.standalone.unprivileged_accounts import StandaloneError  # noqa: PLC0415

    try:
        link = invite_person(find_run_access(data_dir), email, role)
    except StandaloneError as error:
        fail(error)
    typer.echo("Open this link within seven days, or hand it over so that only the person reads it:")
    typer.echo(link)


@app.command()
def doctor(*, data_dir: _DataDir = Path(".vigie")) -> None:
    """List the missing parts of this machine or server, and the commands that fix them."""
    from app.server_installation.server_paths import ServerPaths, is_server  # noqa: PLC0415
    from app.standalone.doctor import (  # noqa: PLC0415
        check_mail_server,
        check_security,
        run_doctor,
    )
    from app.standalone.doctor_cluster import check_cluster  # noqa: PLC0415
    from app.standalone.doctor_database import (  # noqa: PLC0415
        check_chunks,
        check_database_roles,
        check_recovery_bundle,
        check_stored_mail,
    )

    if is_server() and data_dir == Path(".vigie"):
        from app.server_installation.server_doctor import run_server_doctor  # noqa: PLC0415

        raise typer.Exit(run_server_doctor(ServerPaths()))
    raise typer.Exit(
        run_doctor(
            data_dir,
            [
                *check_database_roles(),
                *check_chunks(),
                *check_cluster(),
                *check_mail_server(_mail_fault),
                *check_stored_mail(),
                *check_recovery_bundle(),
                *check_security(),
            ],
        )
    )


def _mail_fault(settings: "SmtpSettings") -> tuple[str, str] | None:
    from app.notifications.email.email_transport import find_smtp_fault  # noqa: PLC0415

    return find_smtp_fault(settings)


@app.command()
def version() -> None:
    """Print the version and the commit."""
    from app.platform.runtime.release import describe_release  # noqa: PLC0415

    typer.echo(describe_release())


def _print_version(value: bool) -> None:  # noqa: FBT001 (Typer's)
    if value:
        version()
        raise typer.Exit


@app.callback()
def _options(
    context: typer.Context,
    *,
    _: Annotated[
        bool,
        typer.Option(
            "--version", help="Print the version and the commit.", callback=_print_version, is_eager=True
        ),
    ] = False,
) -> None:
    """Handle options before a command, and warn of misspelt settings."""
    if context.invoked_subcommand not in _WARNING_THEMSELVES:
        from app.standalone.startup_settings_check import print_unknown_settings  # noqa: PLC0415

        print_unknown_settings()


def _add_secrets() -> None:
    from app.standalone.secrets_cli import app as secrets  # noqa: PLC0415

    app.add_typer(secrets, name="secrets")


def _add_simulators() -> None:
    from simulators.cli import app as simulators  # noqa: PLC0415

    app.add_typer(
        simulators, name="simulate", help="Simulate fleets and events, replay real data, receive webhooks."
    )


def _add_audit() -> None:
    from app.processes.audit_cli import app as audit  # noqa: PLC0415

    app.add_typer(audit, name="audit")


def _add_backups() -> None:
    from app.processes.backup_cli import app as backups  # noqa: PLC0415
    from app.processes.restore_cli import restore  # noqa: PLC0415

    app.add_typer(backups, name="backup")
    app.command()(restore)


def _add_tenant() -> None:
    from app.processes.tenant_cli import app as tenant  # noqa: PLC0415

    app.add_typer(tenant, name="tenant")


def main() -> None:
    """Entry point of the console script."""
    # Before a process has its own handler there is nothing to drain, so a stop is not a failure.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    # The simulators take half a second to import: only for their commands and for help.
    if sys.argv[1:2] in (["secrets"], ["--help"], []):
        _add_secrets()
    if "simulate" in sys.argv[1:2] or sys.argv[1:2] in (["--help"], []):
        _add_simulators()
    if "audit" in sys.argv[1:2] or sys.argv[1:2] in (["--help"], []):
        _add_audit()
    if sys.argv[1:2] in (["backup"], ["restore"], ["--help"], []):
        _add_backups()
    if "tenant" in sys.argv[1:2] or sys.argv[1:2] in (["--help"], []):
        _add_tenant()
    try:
        app()
    except ValueError as error:
        from app.platform.config.platform_settings import InvalidSettingsError  # noqa: PLC0415

        if not isinstance(error, InvalidSettingsError):
            raise
        sys.stderr.write(f"vigie: {error}\n")
        sys.exit(2)
