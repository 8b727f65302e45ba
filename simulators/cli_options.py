"""Defines the command-line options that several commands share."""

from pathlib import Path
from typing import Annotated

import typer

RunFile = Annotated[Path, typer.Option("--run", help="The file that `vigie up` writes")]
ApiAddress = Annotated[str | None, typer.Option("--api", help="REST address, instead of the run file's")]
ApiKey = Annotated[str | None, typer.Option("--key", help="API key, instead of the run file's")]
MqttAddress = Annotated[
    str | None,
    typer.Option("--mqtt", help="mqtt://user:password@host:port (or mqtts://), instead of the run file's"),
]
DatabaseAddress = Annotated[
    str | None, typer.Option("--database", help="postgresql://… for --verify, instead of the run file's")
]
OrganisationName = Annotated[
    str, typer.Option("--organisation", help="Name; found or created if the key may, else the key's own")
]
Seed = Annotated[int, typer.Option(help="The same seed gives the same values at the same instants")]
SilenceShare = Annotated[
    float, typer.Option(min=0.0, max=1.0, help="Share of samples that are never measured")
]
SpikeShare = Annotated[float, typer.Option(min=0.0, max=1.0, help="Share of samples with one value too high")]
DuplicateShare = Annotated[float, typer.Option(min=0.0, max=1.0, help="Share of samples that are sent twice")]
LateShare = Annotated[float, typer.Option(min=0.0, max=1.0, help="Share of samples sent after newer ones")]


def require_positive(value: float | None) -> float | None:
    """Refuse zero and negative values (a typer callback)."""
    if value is not None and value <= 0:
        raise typer.BadParameter("must be more than 0")
    return value


Interval = Annotated[float, typer.Option(help="Seconds between a box's samples", callback=require_positive)]
Count = Annotated[int | None, typer.Option(min=1, help="Samples of each box; default: until stopped")]
Duration = Annotated[
    float | None,
    typer.Option(help="Alternative to --count: seconds of measurement", callback=require_positive),
]
Speed = Annotated[float, typer.Option(min=0.0, help="Measured seconds per second; 0: as fast as possible")]
ByGateway = Annotated[bool, typer.Option(help="Publish for all boxes with the gateway's account")]
