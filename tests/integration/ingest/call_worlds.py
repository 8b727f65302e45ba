"""Two worlds with the same boxes, in which the same calls of HTTP ingest are sent in different ways."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import asyncpg
from hypothesis import strategies as st

from tests.conftest import STREET, Tenant
from tests.integration.ingest.walk_scenarios import WINDOW

START = datetime.now(UTC).replace(microsecond=0) - timedelta(hours=20)
POISON = 666
SENML = "application/senml+json"


class Call(NamedTuple):
    """A call; `{world}` stands for the prefix of the world's boxes."""

    path: str
    body: bytes
    content_type: str = "application/json"
    is_limited: bool = False


class World:
    """Two organisations with the same boxes as those of the other world, but for a prefix of their ids."""

    def __init__(self, name: str, main: Tenant, limited: Tenant) -> None:
        self.name = name
        self.main = main
        self.limited = limited

    async def register(self) -> None:
        """Register a site without the purpose `noise` for each organisation, and the boxes."""
        for tenant, boxes in ((self.main, ("0", "1", "2")), (self.limited, ("l",))):
            site = (await tenant.client.post("/v1/sites", json=STREET)).raise_for_status().json()["id"]
            for box in boxes:
                body = {"id": f"{self.name}{box}", "site_id": site}
                (await tenant.client.post("/v1/boxes", json=body)).raise_for_status()
            path = f"/v1/sites/{site}/purposes/noise/end"
            (await tenant.client.post(path, json={})).raise_for_status()
            for number, condition in enumerate(_RULES):
                rule = {"site_id": site, "name": f"r{number}", "severity": "warning", "condition": condition}
                (await tenant.client.post("/v1/rules", json=rule)).raise_for_status()

    async def send(self, call: Call, number: int) -> tuple[int, str, bytes]:
        """Send a call; gives all of the answer but `Retry-After`, and with the world's name left out."""
        client = (self.limited if call.is_limited else self.main).client
        headers = {"Content-Type": call.content_type, "X-Request-Id": f"request-{number:08}"}
        body = call.body.replace(b"{world}", self.name.encode())
        answer = await client.post(call.path, content=body, headers=headers)
        return (
            answer.status_code,
            answer.headers["Content-Type"],
            answer.content.replace(self.name.encode(), b""),
        )

    async def left(self, owner: asyncpg.Connection) -> list[list[tuple[Any, ...]]]:
        """All that is stored of the world's organisations."""
        return [
            [tuple(row) for row in await owner.fetch(query, [self.main.id, self.limited.id], self.name)]
            for query in _STORED
        ]


# One rule compares values, the other one needs all samples of a window.
_RULES = (
    {"metric": "pm2_5", "operator": ">", "threshold": 1.5},
    WINDOW | {"function": "percentile", "percentile": 50, "window": "PT5S", "threshold": 1.5, "clear": 1.2},
)
# Of the last refusal of a box the code is not compared: it is noted every ten seconds at most.
_STORED = (
    """
    SELECT replace(b.id, $2, ''), s.time, s.seq, s.pm2_5, s.laeq, s.temperature, s.late
    FROM samples s JOIN boxes b ON b.key = s.box_key
    WHERE b.organisation_id = ANY ($1::text[]::uuid[]) ORDER BY 1, 2
    """,
    """
    SELECT replace(b.id, $2, ''), e.time, e.type, e.seq, e.late
    FROM events e JOIN boxes b ON b.key = e.box_key
    WHERE b.organisation_id = ANY ($1::text[]::uuid[]) ORDER BY 1, 2, 3
    """,
    """
    SELECT q.code, replace(q.detail, $2, ''), replace(q.box, $2, ''), replace(q.topic, $2, ''),
        q.payload_bytes, replace(encode(q.payload, 'escape'), $2, '')
    FROM quarantine q WHERE q.organisation_id = ANY ($1::text[]::uuid[]) ORDER BY 1, 2, 3, 4, 5, 6
    """,
    """
    SELECT d.code, d.purpose, sum(d.refused)::int FROM door_refusals d
    WHERE d.organisation_id = ANY ($1::text[]::uuid[]) AND $2 <> '' GROUP BY 1, 2 ORDER BY 1, 2
    """,
    """
    SELECT u.quota, sum(u.used)::int, sum(u.refused)::int FROM organisation_usage u
    WHERE u.organisation_id = ANY ($1::text[]::uuid[]) AND $2 <> '' GROUP BY 1 ORDER BY 1
    """,
    """
    SELECT replace(a.box, $2, ''), a.started_at, a.state, a.sequence FROM alerts a
    WHERE a.organisation_id = ANY ($1::text[]::uuid[]) ORDER BY 1, 2, 3, 4
    """,
    """
    SELECT replace(b.id, $2, '') FROM box_refusals r JOIN boxes b ON b.key = r.box_key
    WHERE b.organisation_id = ANY ($1::text[]::uuid[]) ORDER BY 1
    """,
)


def at(minute: int, second: int = 0) -> str:
    return (START + timedelta(minutes=minute, seconds=second)).strftime("%Y-%m-%dT%H:%M:%SZ")


def sample(minute: int, value: float = 1) -> dict[str, Any]:
    return {"time": at(minute), "values": {"pm2_5": value}}


def telemetry(box: str, samples: Sequence[Any], *, is_limited: bool = False) -> Call:
    body = {"box": f"{{world}}{box}", "samples": samples}
    return Call("/v1/telemetry", json.dumps(body).encode(), is_limited=is_limited)


def samples_of(minute: int) -> st.SearchStrategy[list[Any]]:
    """Samples of few moments and values, so that many are duplicates and conflicts, and some are bad."""
    good = st.builds(
        lambda second, seq, value: (
            {"time": at(minute, second), "values": {"pm2_5": value}} | ({} if seq is None else {"seq": seq})
        ),
        st.integers(0, 4),
        st.sampled_from([None, 1, 2]),
        st.sampled_from([1, 2]),
    )
    bad = st.sampled_from(
        [
            {"time": at(minute), "values": {"pm2_5": -1}, "seq": 7},
            {"time": at(minute), "values": {"pm2_5": "x"}},
            {"time": "yesterday", "values": {"pm2_5": 1}},
            {"time": at(minute), "values": {"unknown": 1}, "seq": 9},
            {"time": at(minute, 50), "values": {"pm2_5": 1, "laeq": 50}, "seq": 10},
            {"time": at(minute, 51), "values": {"laeq": 51}, "seq": 11},
            {"time": at(minute, 52), "values": {"pm2_5": POISON}, "seq": 12},
        ]
    )
    return st.lists(st.one_of(good, good, bad), min_size=1, max_size=5)


def events_of(minute: int) -> st.SearchStrategy[list[Any]]:
    return st.lists(
        st.one_of(
            st.builds(
                lambda second, kind: {"time": at(minute, second), "type": kind},
                st.integers(0, 2),
                st.sampled_from(["tamper", "gunshot", "nothing"]),
            ),
            st.just({"time": at(minute), "type": "tamper", "loudness": 1}),
        ),
        min_size=1,
        max_size=3,
    )


def calls_of(minute: int) -> st.SearchStrategy[Call]:
    boxes = st.sampled_from(["0", "0", "1", "2", "none", "l"])
    return st.one_of(
        st.builds(telemetry, boxes, samples_of(minute)),
        st.builds(telemetry, boxes, samples_of(minute)),
        st.builds(telemetry, st.sampled_from(["l", "0"]), samples_of(minute), is_limited=st.just(True)),
        st.builds(
            lambda box, events: Call(
                "/v1/events", json.dumps({"box": f"{{world}}{box}", "events": events}).encode()
            ),
            boxes,
            events_of(minute),
        ),
        st.builds(
            lambda box, value: Call(
                "/v1/telemetry",
                json.dumps(
                    [
                        {"bn": f"{{world}}{box}/", "bt": START.timestamp() + minute * 60},
                        {"n": "temperature", "u": "Cel", "v": value},
                    ]
                ).encode(),
                SENML,
            ),
            boxes,
            st.sampled_from([20, 21, 999]),
        ),
        st.sampled_from(
            [
                Call("/v1/telemetry", b'{"box": "{world}0"'),
                Call("/v1/telemetry", b""),
                Call("/v1/telemetry", b'{"box": "{world}0", "samples": []}'),
                Call("/v1/telemetry", b"<xml/>", "text/xml"),
                Call("/v1/events", b"[1]"),
            ]
        ),
    )
