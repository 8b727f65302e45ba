"""Defines the command `vigie`: it runs one process, the whole stack, or a tool such as `doctor`."""

import signal
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from app.standalone.secrets_cli import app as secrets_app

if TYPE_CHECKING:
    from app.platform.config.platform_settings import SmtpSettings

app = typer.Typer(
    name="vigie",
    help="Smart- and safe-city IoT ingestion: MQTT in, rules, alerts, signed webhooks.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)

app.add_typer(secrets_app, name="secrets")
# These report misspelt settings themselves: in their log, or among the findings of `doctor`.
_WARNING_THEMSELVES = frozenset({"api", "api-worker", "ingest", "deliver", "maintain", "migrate", "doctor"})
_DataDir = Annotated[Path, typer.Option(help="Data directory of the stack")]

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
def ingest() -> None:
    """Run the ingest process, which drains the broker into the database. A second one stands by."""
    from app.platform.runtime.process_runner import run_process  # noqa: PLC0415
    from app.processes.ingest import run_ingest  # noqa: PLC0415
    from app.standalone.startup_settings_check import load_admitted_settings  # noqa: PLC0415

    run_process("ingest", load_admitted_settings("ingest"), run_ingest)


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
    from app.platform.db.schema_upgrade import upgrade  # noqa: PLC0415
    from app.standalone.startup_settings_check import load_admitted_settings  # noqa: PLC0415

    upgrade(load_admitted_settings("migrate").database, revision)
    typer.echo(f"The database is at {revision}.")


@app.command()
def doctor(*, data_dir: _DataDir = Path(".vigie")) -> None:
    """List what is missing on this machine, and the commands that fix it."""
    from app.standalone.doctor import (  # noqa: PLC0415
        check_mail_server,
        check_security,
        run_doctor,
    )
    from app.standalone.doctor_database import (  # noqa: PLC0415
        check_chunks,
        check_database_roles,
        check_stored_mail,
    )

    raise typer.Exit(
        run_doctor(
            data_dir,
            [
                *check_database_roles(),
                *check_chunks(),
                *check_mail_server(_mail_fault),
                *check_stored_mail(),
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


def _add_simulators() -> None:
    from simulators.cli import app as simulators  # noqa: PLC0415

    app.add_typer(
        simulators, name="simulate", help="Simulate fleets and events, replay real data, receive webhooks."
    )


def _add_audit() -> None:
    from app.processes.audit_cli import app as audit  # noqa: PLC0415

    app.add_typer(audit, name="audit")


def main() -> None:
    """Entry point of the console script."""
    # Before a process has its own handler there is nothing to drain, so a stop is not a failure.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    # The simulators take half a second to import: only for their commands and for help.
    if "simulate" in sys.argv[1:2] or sys.argv[1:2] in (["--help"], []):
        _add_simulators()
    if "audit" in sys.argv[1:2] or sys.argv[1:2] in (["--help"], []):
        _add_audit()
    try:
        app()
    except ValueError as error:
        from app.platform.config.platform_settings import InvalidSettingsError  # noqa: PLC0415

        if not isinstance(error, InvalidSettingsError):
            raise
        sys.stderr.write(f"vigie: {error}\n")
        sys.exit(2)
