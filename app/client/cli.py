"""Defines the client's commands of `vigie`: `login`, `logout`, `get`, `tail`, `export`, `rules` and `mcp`.

Exit codes: 0 done; 1 the API refused; 2 the command, the environment or the profile is wrong; 3 the API
cannot be reached, try again; 4 a file of rules is invalid; 5 another caller changed rules meanwhile; 130
interrupted.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, Literal

import typer

from app.client.client_errors import ClientError, UsageError

if TYPE_CHECKING:
    from app.client.api_connection import ApiConnection
    from app.client.profiles import Profile

# Imports are inside the commands: `vigie get` starts without the modules of the others.

CLIENT_COMMANDS: Final = frozenset({"login", "logout", "get", "tail", "export", "rules", "mcp"})
_INTERRUPTED: Final = 130

ProfileOption = Annotated[
    str | None,
    typer.Option(help="The profile of `vigie login`. Default: VIGIE_PROFILE, else `default`"),
]
SiteOption = Annotated[str | None, typer.Option(help="Name or id of a site")]
SitesOption = Annotated[
    list[str] | None, typer.Option("--site", help="Name or id of a site; may be repeated")
]
BoxesOption = Annotated[list[str] | None, typer.Option("--box", help="Id of a box; may be repeated")]
MetricsOption = Annotated[list[str] | None, typer.Option("--metric", help="A metric; may be repeated")]
FromOption = Annotated[str | None, typer.Option("--from", help="Begin, RFC 3339")]
ToOption = Annotated[str | None, typer.Option(help="End, RFC 3339, excluded")]
BucketOption = Annotated[str | None, typer.Option(help="Width of buckets: 15m, 1h, 1d …")]
AggregatesOption = Annotated[str | None, typer.Option(help="Aggregates of a bucket: avg,max,coverage …")]


def report(line: str) -> None:
    """Print a line that is no result to standard error."""
    typer.echo(line, err=True)


@contextmanager
def exiting_on_errors() -> Iterator[None]:
    """Turn errors of the client into a line on standard error and an exit code."""
    try:
        yield
    except ClientError as error:
        report(f"vigie: {error}")
        raise typer.Exit(error.exit_code) from None
    except KeyboardInterrupt:
        raise typer.Exit(_INTERRUPTED) from None


@contextmanager
def connect(profile: str | None) -> "Iterator[tuple[ApiConnection, Profile]]":
    """Connect as a profile; errors end the command."""
    with exiting_on_errors():
        from app.client.api_connection import ApiConnection  # noqa: PLC0415
        from app.client.profiles import resolve_profile  # noqa: PLC0415

        chosen = resolve_profile(profile)
        with ApiConnection(chosen) as api:
            yield api, chosen


def find_site_id(api: "ApiConnection", named: str) -> str:
    """Return the id of a site (UsageError: there is none, or there are several of this name)."""
    from app.client.rule_plan import find_site  # noqa: PLC0415

    try:
        return str(find_site(api, named)["id"])
    except LookupError as error:
        raise UsageError(str(error.args[0])) from None


def login(
    url: Annotated[str, typer.Argument(help="Address of the API, such as https://vigie.example.com")],
    *,
    profile: Annotated[str, typer.Option(help="Name of the profile")] = "default",
) -> None:
    """Store an address and an API key as a profile.

    The key is read from VIGIE_API_KEY, from standard input, or from a prompt. It is verified first.
    """
    from app.client.login_command import run_login  # noqa: PLC0415

    with exiting_on_errors():
        run_login(url, profile, report)


def logout(*, profile: Annotated[str, typer.Option(help="Name of the profile")] = "default") -> None:
    """Remove a profile. The key stays valid until it is revoked."""
    from app.client.profiles import remove_profile  # noqa: PLC0415

    with exiting_on_errors():
        remove_profile(profile)


def get(
    resource: Annotated[str, typer.Argument(help="sites, boxes, rules, alerts, latest, readings, series …")],
    identifier: Annotated[
        str | None, typer.Argument(metavar="ID", help="One of them, or its box or site")
    ] = None,
    *,
    site: SiteOption = None,
    box: BoxesOption = None,
    metric: MetricsOption = None,
    since: FromOption = None,
    to: ToOption = None,
    bucket: BucketOption = None,
    state: Annotated[str | None, typer.Option(help="firing, resolved, active …")] = None,
    q: Annotated[str | None, typer.Option("-q", help="Part of a name")] = None,
    sort: Annotated[str | None, typer.Option(help="The order; `-` reverses it")] = None,
    parameter: Annotated[
        list[str] | None,
        typer.Option("--param", "-p", help="Any other parameter: NAME=VALUE; may be repeated"),
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="The most entries. Default: all")] = None,
    columns: Annotated[
        str | None, typer.Option(help="Columns of tables and CSV: id,name,location.type")
    ] = None,
    output: Annotated[Literal["table", "json", "csv"], typer.Option("--output", "-o")] = "table",
    profile: ProfileOption = None,
) -> None:
    """Read a resource: all pages of a list, or one entry."""
    from app.client.get_command import GetRequest, run_get  # noqa: PLC0415

    with connect(profile) as (api, _):
        named = {"from": since, "to": to, "bucket": bucket, "state": state, "q": q, "sort": sort}
        parameters = [(name, value) for name, value in named.items() if value is not None]
        parameters += [("box", each) for each in box or ()]
        parameters += [("metric", each) for each in metric or ()]
        if site is not None:
            parameters.append(("site", find_site_id(api, site)))
        for each in parameter or ():
            name, equals, value = each.partition("=")
            if not equals:
                raise UsageError(f"--param takes NAME=VALUE, not {each!r}")
            parameters.append((name, value))
        chosen = tuple(columns.split(",")) if columns else ()
        run_get(api, GetRequest(resource, identifier, parameters, limit, chosen, output), sys.stdout)


def tail(
    stream: Annotated[Literal["alerts", "measurements"], typer.Argument()] = "alerts",
    *,
    site: SiteOption = None,
    types: Annotated[
        list[str] | None, typer.Option("--type", help="Only this type of event; may be repeated")
    ] = None,
    min_severity: Annotated[str | None, typer.Option(help="info, warning or critical")] = None,
    box: BoxesOption = None,
    metric: MetricsOption = None,
    kind: Annotated[
        list[str] | None, typer.Option(help="Of measurements: sample, event, correction, hour")
    ] = None,
    after: Annotated[str | None, typer.Option(help="Resume after this offset")] = None,
    offset_file: Annotated[
        Path | None, typer.Option(help="Store the offset in this file, and resume from it")
    ] = None,
    count: Annotated[int | None, typer.Option(min=1, help="End after so many events")] = None,
    output: Annotated[Literal["text", "json"], typer.Option("--output", "-o")] = "text",
    profile: ProfileOption = None,
) -> None:
    """Follow events as they happen, over breaks of the connection. Ctrl-C ends it."""
    from app.client.tail_command import TailRequest, run_tail  # noqa: PLC0415

    with connect(profile) as (api, _):
        parameters = [("types", each) for each in types or ()]
        parameters += [("box", each) for each in box or ()]
        parameters += [("metric", each) for each in metric or ()]
        parameters += [("kind", each) for each in kind or ()]
        if min_severity is not None:
            parameters.append(("min_severity", min_severity))
        if site is not None:
            parameters.append(("site", find_site_id(api, site)))
        request = TailRequest(stream, parameters, after, offset_file, count, output)
        run_tail(api, request, sys.stdout, report)


def export(
    *,
    to_file: Annotated[Path, typer.Option("--output", "-o", help="The file; with --parts a folder")],
    site: SitesOption = None,
    box: BoxesOption = None,
    metric: MetricsOption = None,
    since: FromOption = None,
    to: ToOption = None,
    bucket: BucketOption = None,
    aggregates: AggregatesOption = None,
    format_: Annotated[
        Literal["csv", "ndjson", "geojson", "parquet", "arrow", "openaq", "eea"] | None,
        typer.Option("--format", help="Default: by the suffix of the file, else csv"),
    ] = None,
    parts: Annotated[
        bool, typer.Option("--parts", help="Download in parts, each a file of the folder")
    ] = False,
    profile: ProfileOption = None,
) -> None:
    """Download readings of many boxes. After a break, the same command continues."""
    from app.client.export_command import run_export  # noqa: PLC0415

    with connect(profile) as (api, chosen):
        named = {"from": since, "to": to, "bucket": bucket, "aggregates": aggregates}
        parameters = [(name, value) for name, value in named.items() if value is not None]
        parameters += [("site", find_site_id(api, each)) for each in site or ()]
        parameters += [("box", each) for each in box or ()]
        parameters += [("metric", each) for each in metric or ()]
        run_export(api, chosen, parameters, format_, to_file, in_parts=parts)


rules = typer.Typer(no_args_is_help=True, help="Rules as files: apply them, and write the existing ones.")


@rules.command("apply")
def apply_rules(
    *,
    file: Annotated[Path, typer.Option("--file", "-f", help="A file of YAML or JSON, or a folder of them")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the plan, and change nothing")] = False,
    prune: Annotated[
        bool, typer.Option("--prune", help="Delete rules of the named sites that no file declares")
    ] = False,
    profile: ProfileOption = None,
) -> None:
    """Create, change and leave alone: the rules become those of the files. Prints the plan first."""
    from app.client.rules_command import run_apply  # noqa: PLC0415

    with connect(profile) as (api, _):
        run_apply(api, file, dry_run=dry_run, prune=prune, write=typer.echo)


@rules.command("export")
def export_rules(
    *,
    site: SitesOption = None,
    to: Annotated[
        Path | None, typer.Option("--output", "-o", help="A new file, or a folder for a file of each site")
    ] = None,
    profile: ProfileOption = None,
) -> None:
    """Write the existing rules in the format of `vigie rules apply`."""
    from app.client.rules_command import run_rules_export  # noqa: PLC0415

    with connect(profile) as (api, _):
        found = [find_site_id(api, each) for each in site or ()]
        run_rules_export(api, found, to, write=typer.echo, report=report)


def mcp(
    *,
    http: Annotated[
        bool, typer.Option("--http", help="Serve streamable HTTP at /mcp, instead of standard input")
    ] = False,
    api: Annotated[
        str | None, typer.Option(help="With --http: the address of the API. Default: the profile's")
    ] = None,
    host: Annotated[str, typer.Option(help="With --http: the address to listen on")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="With --http")] = 8765,
    allow_host: Annotated[
        list[str] | None,
        typer.Option(help="With --http: a public host (and port) of this server; may be repeated"),
    ] = None,
    profile: ProfileOption = None,
) -> None:
    """Serve read-only tools to assistants by the Model Context Protocol.

    Over standard input it reads with the key of the profile. Over HTTP each request brings its own key.
    """
    with exiting_on_errors():
        from app.client.mcp_command import run_http, run_stdio  # noqa: PLC0415
        from app.client.profiles import check_url, resolve_profile  # noqa: PLC0415

        if http:
            url = check_url(api) if api is not None else resolve_profile(profile).url
            run_http(url, host, port, allow_host or ())
        else:
            run_stdio(resolve_profile(profile))


def add_client_commands(app: typer.Typer) -> None:
    """Add the commands to `vigie`."""
    for command in (login, logout, get, tail, export, mcp):
        app.command()(command)
    app.add_typer(rules, name="rules")
