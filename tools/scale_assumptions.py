"""Holds what a plan assumes: what was not measured, and what an operator decides. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, Final

from app.edge.settings import EdgeSettings

_GB: Final = 1e9
_GIB: Final = 2**30


@dataclass(frozen=True, slots=True)
class MachineClass:
    """A kind of machine to rent. The price is an assumption, not an offer.

    Attributes:
        cores: Its cores, as fast as the measured ones.
        memory: Its memory (bytes).
        disk: Its usable disk, after RAID (bytes).
        price: Euros a month.
    """

    cores: int
    memory: float
    disk: float
    price: float


@dataclass(frozen=True, slots=True)
class ScaleAssumptions:
    """The assumptions that were not measured, and the choices of an operator.

    Attributes:
        date: When the prices were assumed.
        days: Days for which samples are stored.
        readings: Values of a sample.
        headroom: How many times the computed CPU and network a machine has.
        disk_fill: The share of a disk that may be used.
        tls: Whether boxes connect by TLS.
        alerts_a_day: Alerts of a box a day.
        deliveries: Deliveries of an alert (firing and resolved, to one webhook).
        calls_an_hour: Calls of the API for each box an hour.
        reload_s: How long a changed accounts file may keep a broker from serving boxes: half of it to read
            the accounts, half to check those of connected boxes. Two seconds are promised from a revocation
            to its effect; the other second is for the rest.
        local_ports: Connections of a proxy to one broker: the local ports that Linux uses by default.
        envelope: Bytes on the wire for each byte of content: headers of TCP and IP, and TLS.
        batch_delay_s: How long an edge gathers messages (`VIGIE_EDGE__BATCH_DELAY_MS`).
        network_bits: Network of a machine (bits/s).
        proxy: The machines of haproxy.
        worker: The machines of brokers, log and workers, and of everything where three machines suffice.
        database: The machines of PostgreSQL.
    """

    date: str = "2026-11"
    days: int = 90
    readings: int = 10
    headroom: float = 2.0
    disk_fill: float = 0.8
    tls: bool = True
    alerts_a_day: float = 1.0
    deliveries: float = 2.0
    calls_an_hour: float = 1.0
    reload_s: float = 1.0
    local_ports: int = 28_232
    envelope: float = 1.4
    batch_delay_s: float = EdgeSettings().batch_delay_ms / 1000
    network_bits: float = 10e9
    proxy: MachineClass = field(default=MachineClass(4, 8 * _GIB, 80 * _GB, 25.0))
    worker: MachineClass = field(default=MachineClass(16, 64 * _GIB, 1_900 * _GB, 130.0))
    database: MachineClass = field(default=MachineClass(32, 256 * _GIB, 30_000 * _GB, 750.0))


def change_assumptions(given: ScaleAssumptions, changes: Sequence[str]) -> ScaleAssumptions:
    """Return assumptions with changes such as `days=30` or `database.disk=15e12`.

    Raises:
        ValueError: A change names no assumption, or has no number.
    """
    for change in changes:
        path, _, text = change.partition("=")
        name, _, part = path.partition(".")
        value: Any = getattr(given, name, None)
        changed: dict[str, Any] = {}
        if isinstance(value, MachineClass) and part in {each.name for each in fields(value)}:
            changed[part] = type(getattr(value, part))(float(text))
            value = replace(value, **changed)
        elif isinstance(value, int | float) and not part:
            value = type(value)(float(text))
        else:
            raise ValueError(f"{path!r} is no assumption")
        given = replace(given, **{name: value})
    return given
