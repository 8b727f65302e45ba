"""Locates simulated shots, and writes the figures into docs/acoustics.md: `python -m bench.acoustic`.

The simulation is seeded: the same program on the same versions finds the same places. Only times differ.
"""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Final

import numpy as np
import typer

from app.acoustics.classification_pooling import ClassCandidate
from app.acoustics.event_association import associate_events
from app.acoustics.localisation_inputs import AirConditions, BoxPosition, LocalisationSettings
from app.acoustics.sound_event_types import SoundEvent, SoundIncident
from app.platform.kernel.array_types import FloatArray
from bench.acoustic_world import (
    FRAME,
    GRIDS,
    HeardEvent,
    SimulatedFaults,
    SimulatedFleet,
    choose_source,
    make_fleet,
    simulate_shot,
)
from bench.measure import describe_machine
from bench.report import render_table, replace_section, wrap_prose
from bench.results import percentile

_DOCS: Final = Path(__file__).parent.parent / "docs" / "acoustics.md"
_CLOCKS: Final = (0.1, 1.0, 5.0)
_NEAR_M: Final = 15.0
_AT_S: Final = 1_000.0
_NONE: Final = "-"


@dataclass(slots=True)
class LocalisationTally:
    """The results of one setting.

    Attributes:
        errors: the error of the position of each shot, m; infinite without a position.
        covered: whether the ellipse of each position contains the place.
        plain: the same, of shots with nothing but direct sound.
        either: whether that ellipse or the alternative's contains the place.
        axes: half the longer axis of each ellipse, m.
        split: shots whose direct sounds are in several incidents.
        merged: pairs of shots of which an incident has direct sounds of both.
        taken_in: false detections that count as part of a shot.
        rounds: incidents with the right number of rounds.
        cpu_s: CPU time of all associations and localisations, s.
        incidents: the number of incidents.
        runs: the number of scenes.
    """

    errors: list[float] = field(default_factory=list)
    covered: list[bool] = field(default_factory=list)
    plain: list[bool] = field(default_factory=list)
    either: list[bool] = field(default_factory=list)
    axes: list[float] = field(default_factory=list)
    split: int = 0
    merged: int = 0
    taken_in: int = 0
    rounds: int = 0
    cpu_s: float = 0.0
    incidents: int = 0
    runs: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class _Scene:
    """A simulated scene with its truth: the place of each shot, and the number of rounds."""

    air: SimulatedFleet
    sources: Sequence[FloatArray]
    heard: Sequence[HeardEvent]
    rounds: int = 1


type Play = Callable[[np.random.Generator, int, SimulatedFaults], _Scene]


def simulate_one_shot(rng: np.random.Generator, boxes: int, faults: SimulatedFaults) -> _Scene:
    """Simulate one shot."""
    air, source = make_fleet(rng, boxes, faults), choose_source(rng)
    return _Scene(air, [source], simulate_shot(rng, air, source, at=_AT_S, shot=0, faults=faults))


def simulate_two_shots(rng: np.random.Generator, boxes: int, faults: SimulatedFaults) -> _Scene:
    """Simulate two shots in different places, up to three seconds apart."""
    air, first, second = make_fleet(rng, boxes, faults), choose_source(rng), choose_source(rng)
    heard = simulate_shot(rng, air, first, at=_AT_S, shot=0, faults=faults)
    later = _AT_S + float(rng.uniform(0.0, 3.0))
    return _Scene(
        air, [first, second], [*heard, *simulate_shot(rng, air, second, at=later, shot=1, faults=faults)]
    )


def simulate_automatic_fire(rng: np.random.Generator, boxes: int, faults: SimulatedFaults) -> _Scene:
    """Simulate three to eight rounds of automatic fire, 460 to 860 a minute, each with its own faults."""
    air, source = make_fleet(rng, boxes, faults), choose_source(rng)
    rounds, step = int(rng.integers(3, 9)), float(rng.uniform(0.07, 0.13))
    every = replace(faults, false=faults.false / rounds, reflected=faults.reflected / rounds)
    heard = []
    for at in range(rounds):
        heard += simulate_shot(rng, air, source, at=_AT_S + at * step, shot=0, faults=every)
    return _Scene(air, [source], heard, rounds)


def measure_localisation(
    play: Play, boxes: int, faults: SimulatedFaults, *, runs: int, seed: int, wind_sigma: float = 0.0
) -> LocalisationTally:
    """Simulate a number of scenes, and compare the incidents found with the truth."""
    rng = np.random.default_rng([seed, boxes, round(faults.clock_ms * 10)])
    cell = LocalisationTally(runs=runs)
    for _ in range(runs):
        scene = play(rng, boxes, faults)
        events = [_event(at, each, scene.air, faults) for at, each in enumerate(scene.heard)]
        order = rng.permutation(len(events))
        told = AirConditions(temperature_c=scene.air.temperature_c, wind_sigma_m_s=wind_sigma)
        known: Mapping[str, BoxPosition] = {box.id: box for box in scene.air.boxes}
        began = time.process_time()
        incidents = associate_events(
            [events[at] for at in order], known, LocalisationSettings(conditions=told)
        )
        cell.cpu_s += time.process_time() - began
        cell.incidents += len(incidents)
        _judge(cell, scene, incidents)
    return cell


def _event(at: int, heard: HeardEvent, air: SimulatedFleet, faults: SimulatedFaults) -> SoundEvent:
    kind = "door_slam" if heard.kind == "false" else "pistol"
    return SoundEvent(
        f"{at:04d}",
        air.boxes[heard.box].id,
        round(heard.seconds * 1e6),
        (ClassCandidate(kind, 0.7),),
        heard.level_db,
        faults.clock_ms,
    )


def _judge(cell: LocalisationTally, scene: _Scene, incidents: Sequence[SoundIncident]) -> None:
    of = {event.id: at for at, each in enumerate(incidents) for event in each.events}
    counts: dict[int, dict[int, int]] = {shot: {} for shot in range(len(scene.sources))}
    for at, each in enumerate(scene.heard):
        if each.shot is not None and each.kind == "direct":
            home = of[f"{at:04d}"]
            counts[each.shot][home] = counts[each.shot].get(home, 0) + 1
    cell.split += sum(len(homes) > 1 for homes in counts.values())
    cell.merged += len(counts) > 1 and bool(counts[0].keys() & counts[1].keys())
    for shot, source in enumerate(scene.sources):
        if not counts[shot]:
            cell.errors.append(math.inf)
            continue
        incident = incidents[max(counts[shot], key=lambda home: counts[shot][home])]
        cell.rounds += len(incident.rounds) == scene.rounds
        plain = all(each.kind in {"direct", "echo"} for each in scene.heard if each.shot in {shot, None})
        _locate(cell, incident, source, plain=plain)
    fired = {event.id for each in incidents for part in each.rounds for event in part.events}
    for at, each in enumerate(scene.heard):
        home = of[f"{at:04d}"]
        shots = {home for homes in counts.values() for home in homes}
        cell.taken_in += each.shot is None and home in shots and f"{at:04d}" in fired


def _locate(cell: LocalisationTally, incident: SoundIncident, source: FloatArray, *, plain: bool) -> None:
    location = incident.location
    if location.position is None:
        cell.errors.append(math.inf)
        return
    inside = []
    for position in filter(None, (location.position, location.alternative)):
        # In the truth's own frame: the program's lies around the boxes that heard it.
        east, north = FRAME.to_plane(position.lon, position.lat)
        off_east, off_north = float(source[0]) - east, float(source[1]) - north
        inside.append(position.ellipse.holds(off_east, off_north))
        if position is location.position:
            cell.errors.append(math.hypot(off_east, off_north))
            cell.axes.append(position.ellipse.semi_major_m)
    cell.covered.append(inside[0])
    cell.either.append(any(inside))
    if plain:
        cell.plain.append(inside[0])


def _metres(value: float) -> str:
    return _NONE if math.isinf(value) else f"{value:.1f}" if value < 100 else f"{value:.0f}"  # noqa: PLR2004


def _share(values: Sequence[bool]) -> str:
    return f"{sum(values) / len(values):.1%}" if values else _NONE


def render_position_row(name: str, clock_ms: float, cell: LocalisationTally) -> list[str]:
    """Render a row of the table of positions."""
    return [
        name,
        f"{clock_ms:g}",
        _metres(percentile(cell.errors, 0.5)),
        _metres(percentile(cell.errors, 0.96)),
        f"{sum(error <= _NEAR_M for error in cell.errors) / len(cell.errors):.1%}",
        _share(cell.covered),
        _share(cell.either),
        _share(cell.plain),
        _metres(percentile(cell.axes, 0.5)) if cell.axes else _NONE,
        str(sum(math.isinf(error) for error in cell.errors)),
        str(cell.split),
        str(cell.taken_in),
        f"{cell.cpu_s / cell.incidents * 1e3:.1f}",
    ]


HEAD: Final = (
    *("boxes", "clocks (ms)", "median (m)", "96th percentile (m)", "within 15 m", "in the ellipse"),
    *("in either", "if all direct", "half axis (m)", "no position", "split", "false taken in", "ms/incident"),
)


def render_association_row(boxes: int, pairs: LocalisationTally, bursts: LocalisationTally) -> list[str]:
    """Render a row of the table of overlapping shots and automatic fire."""
    return [
        str(boxes),
        f"{pairs.merged / pairs.runs:.1%}",
        f"{pairs.split / pairs.runs / 2:.1%}",
        f"{sum(error <= _NEAR_M for error in pairs.errors) / len(pairs.errors):.1%}",
        f"{bursts.rounds / bursts.runs:.1%}",
        f"{bursts.split / bursts.runs:.1%}",
        f"{sum(error <= _NEAR_M for error in bursts.errors) / len(bursts.errors):.1%}",
    ]


ASSOCIATION_HEAD: Final = (
    *("boxes", "pairs merged", "shots split", "shots within 15 m"),
    *("bursts with all rounds", "bursts split", "bursts within 15 m"),
)

TITLE: Final = "Figures"

_TEXT: Final = """
    Each row has {runs:,} simulated shots, anywhere on a square kilometre with 12, 6, 4 or 3 boxes, all of
    which hear them. The simulation includes these faults:

    - Of every five shots, one arrives at one box as a reflection only.
    - Near one in ten shots, a box reports something else, and half of these boxes miss the shot.
    - An echo follows every seventh sound.
    - Boxes stand 0.5 m from their given position along each axis, and the given temperature is wrong by 2
      °C (standard errors).

    All events go through association, in random order. The columns mean:

    - *In the ellipse* counts shots with a position (95 % is the aim); *in either* also counts the
      alternative's ellipse.
    - *If all direct* is for shots without reflection and false detection.
    - A *split* shot has its direct sounds in several incidents.
    - *False taken in* are false detections that count as part of a shot.
    - Times are CPU of one core.
"""

_HARSH: Final = """
    These rows have harder conditions than required: every box by itself hears a reflection instead of one
    sound in five; or an unknown wind of 2 m/s along each axis (standard deviation), with and without
    `wind_sigma_m_s` set. Clocks of 1 ms, {runs:,} shots.
"""

_OVERLAP: Final = """
    These are two shots in different places up to three seconds apart, and automatic fire of three to eight
    rounds. Faults are the same, and clocks have 1 ms; {runs:,} of each. A pair is *merged* if one incident
    has direct sounds of both.
"""


def render_figures(shots: int, further: int, seed: int) -> str:
    """Measure everything, and return the section."""
    rows = []
    for boxes in GRIDS:
        for clock in _CLOCKS:
            rows.append(
                render_position_row(
                    str(boxes),
                    clock,
                    measure_localisation(
                        simulate_one_shot, boxes, SimulatedFaults(clock), runs=shots, seed=seed
                    ),
                )
            )
            print(" | ".join(rows[-1]), flush=True)
    harsh = []
    reflecting, windy = (
        SimulatedFaults(1.0, reflected=0.0, each_reflected=0.2),
        SimulatedFaults(1.0, wind_m_s=2.0),
    )
    for boxes in (12, 6):
        for name, faults, sigma in (
            (f"{boxes}, each reflected 1 in 5", reflecting, 0.0),
            (f"{boxes}, wind not set", windy, 0.0),
            (f"{boxes}, wind set", windy, 2.0),
        ):
            cell = measure_localisation(
                simulate_one_shot, boxes, faults, runs=further, seed=seed, wind_sigma=sigma
            )
            harsh.append(render_position_row(name, 1.0, cell))
            print(" | ".join(harsh[-1]), flush=True)
    overlaps = []
    for boxes in GRIDS:
        pairs, bursts = (
            measure_localisation(play, boxes, SimulatedFaults(1.0), runs=further // 2, seed=seed)
            for play in (simulate_two_shots, simulate_automatic_fire)
        )
        overlaps.append(render_association_row(boxes, pairs, bursts))
        print(" | ".join(overlaps[-1]), flush=True)
    when = (
        f"Written by `make bench-acoustic` on {datetime.now(UTC).date().isoformat()}: {describe_machine()}."
    )
    return "\n".join(
        [
            f"## {TITLE}\n",
            wrap_prose(_TEXT.format(runs=shots)),
            render_table(HEAD, rows),
            wrap_prose(_HARSH.format(runs=further)),
            render_table(HEAD, harsh),
            wrap_prose(_OVERLAP.format(runs=further // 2)),
            render_table(ASSOCIATION_HEAD, overlaps),
            wrap_prose(when),
        ]
    )


def main(
    *,
    shots: Annotated[int, typer.Option(min=10, help="Shots of each array and clock")] = 1_000,
    further: Annotated[int, typer.Option(min=10, help="Shots of each further row")] = 150,
    seed: Annotated[int, typer.Option(help="Of everything that is chance")] = 1,
    docs: Annotated[Path, typer.Option(help="The document whose section is written")] = _DOCS,
) -> None:
    """Locate simulated shots, and write the figures."""
    print(" | ".join(HEAD))
    section = render_figures(shots, further, seed)
    docs.write_text(replace_section(docs.read_text(encoding="utf-8"), section), encoding="utf-8")
    print(f"\n{section}\nWritten: {docs}")


if __name__ == "__main__":
    typer.run(main)
