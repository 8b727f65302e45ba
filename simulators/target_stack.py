"""Finds the stack that a simulator uses: addresses and keys from `run.json` or from options.

Opens no connection.
"""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self
from urllib.parse import SplitResult, unquote, urlsplit

DEFAULT_RUN_FILE = Path(".vigie/run.json")
_PORTS = {"mqtt": 1883, "mqtts": 8883}


class TargetError(Exception):
    """The stack's address is missing or cannot be read. The command prints the text."""


@dataclass(frozen=True, slots=True)
class BrokerAddress:
    """Address of an MQTT broker, with the gateway's account, which may publish for every box.

    With `tls`, this machine or the authorities in `SSL_CERT_FILE` must trust the broker's certificate.
    """

    host: str
    port: int
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    tls: bool = False


@dataclass(frozen=True, slots=True)
class TargetStack:
    """A running stack.

    Attributes:
        api: The REST address, without a trailing slash.
        key: An API key.
        broker: The broker with the gateway's account.
        database: `postgresql://…`, for `--verify`; None if unknown.
        folder: The folder for a simulator's files, such as its boxes' passwords.
    """

    api: str
    key: str = field(repr=False)
    broker: BrokerAddress
    database: str | None = field(default=None, repr=False)
    folder: Path = Path(".vigie")

    @classmethod
    def from_run_file(cls, path: Path) -> Self:
        """Read the file that `vigie up` writes.

        Raises:
            TargetError: The file does not exist, or has another format.
        """
        try:
            run: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            mqtt = run["mqtt"]
            if run["api"] is None:
                raise TargetError(f"{path}: the stack runs without the process `api`")
            broker = BrokerAddress(mqtt["host"], int(mqtt["port"]), mqtt["username"], mqtt["password"])
            return cls(run["api"].rstrip("/"), run["admin_key"], broker, run.get("database"), path.parent)
        except FileNotFoundError:
            raise TargetError(
                f"{path} does not exist: start the stack with `vigie up`, or give --run, or --api, --key "
                "and --mqtt"
            ) from None
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise TargetError(f"{path} is not a run file of `vigie up`: {error!r}") from error


def parse_broker(text: str) -> BrokerAddress:
    """Parse `mqtt://user:password@host:port`; scheme, account and port are optional, and `mqtts` means TLS.

    Raises:
        TargetError: The text has another format.
    """
    parts: SplitResult = urlsplit(text if "://" in text else f"mqtt://{text}")
    try:
        port = parts.port or _PORTS.get(parts.scheme, 0)
    except ValueError as error:
        raise TargetError(f"--mqtt {text!r}: {error}") from None
    if parts.scheme not in _PORTS or not parts.hostname:
        raise TargetError("--mqtt must look like mqtt://user:password@host:port (or mqtts://)")
    username = unquote(parts.username) if parts.username else None
    password = unquote(parts.password) if parts.password else None
    return BrokerAddress(parts.hostname, port, username, password, parts.scheme == "mqtts")


def find_api(run: Path, api: str | None, key: str | None) -> tuple[str, str]:
    """Return the REST address and the key. The run file is read only if an option is missing.

    Raises:
        TargetError: The run file is needed, and cannot be read.
    """
    if api and key:
        return api.rstrip("/"), key
    base = TargetStack.from_run_file(run)
    return (api or base.api).rstrip("/"), key or base.key


def find_target(
    run: Path, api: str | None, key: str | None, mqtt: str | None, database: str | None
) -> TargetStack:
    """Merge the run file with the options, which win. With all of API, key and broker no file is needed.

    Raises:
        TargetError: The run file is needed, and cannot be read.
    """
    if api and key and mqtt:
        return TargetStack(api.rstrip("/"), key, parse_broker(mqtt), database)
    base = TargetStack.from_run_file(run)
    return TargetStack(
        (api or base.api).rstrip("/"),
        key or base.key,
        parse_broker(mqtt) if mqtt else base.broker,
        database or base.database,
        base.folder,
    )
