"""The reference box against a scripted other side: what it keeps, sends again and gives up."""

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from simulators.reference_box import ReferenceBox, SampleQueue

type Answer = Callable[[list[int], bytes], dict[str, Any]]


def sample(seq: int) -> dict[str, Any]:
    return {"seq": seq, "time": 1_795_514_400_000 + seq, "values": {"co2": 400}}


def seqs_of(payload: bytes) -> list[int]:
    document = json.loads(payload)
    return [each["seq"] for each in document.get("samples", [document])]


@asynccontextmanager
async def running(
    folder: Path, answer: Answer, *, count: int = 6, batch: int = 3, patience_s: float = 60.0
) -> AsyncIterator[tuple[ReferenceBox, SampleQueue, list[list[int]]]]:
    """A box with samples from 0; `answer` makes the acknowledgement of each message."""
    sent: list[list[int]] = []

    async def publish(payload: bytes) -> None:
        sent.append(seqs_of(payload))
        ack = answer(sent[-1], payload)
        if ack:
            asyncio.get_running_loop().call_soon(box.receive, "ack", json.dumps(ack).encode())

    queue = SampleQueue(folder)
    box = ReferenceBox(queue, publish, batch=batch, patience_s=patience_s)
    for seq in range(count):
        box.add(sample(seq))
    task = asyncio.create_task(box.run())
    try:
        async with asyncio.timeout(60):
            yield box, queue, sent
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        queue.close()


def refusal(payload: bytes) -> dict[str, str]:
    return {"code": "invalid_json", "sha256": hashlib.sha256(payload).hexdigest()}


def given_up(queue: SampleQueue) -> list[int]:
    if not queue.dead_letters.exists():
        return []
    return [json.loads(line)["sample"]["seq"] for line in queue.dead_letters.read_text().splitlines()]


async def test_what_is_stored_is_forgotten_oldest_first(tmp_path: Path) -> None:
    async with running(tmp_path, lambda seqs, _: {"seqs": seqs}) as (box, queue, sent):
        await box.drain()
    assert sent == [[0, 1, 2], [3, 4, 5]]
    assert given_up(queue) == []


async def test_what_is_rejected_is_given_up_and_an_event_is_no_sample(tmp_path: Path) -> None:
    def answer(seqs: list[int], _: bytes) -> dict[str, Any]:
        rejected = [{"seq": seqs[0], "code": "invalid_json"}, {"seq": seqs[1], "code": "x", "kind": "event"}]
        return {"seqs": seqs[1:], "rejected": rejected}

    async with running(tmp_path, answer) as (box, queue, sent):
        await box.drain()
    assert sent == [[0, 1, 2], [3, 4, 5]]
    assert given_up(queue) == [0, 3]


async def test_samples_that_were_too_many_are_sent_again(tmp_path: Path) -> None:
    def answer(seqs: list[int], _: bytes) -> dict[str, Any]:
        return {
            "seqs": seqs[:2],
            "rejected": [{"seq": seq, "code": "too_many_samples"} for seq in seqs[2:]],
        }

    async with running(tmp_path, answer, count=5, batch=5) as (box, queue, sent):
        await box.drain()
    assert sent == [[0, 1, 2, 3, 4], [2, 3, 4], [4]]
    assert given_up(queue) == []


async def test_the_samples_of_a_refused_message_go_alone_once(tmp_path: Path) -> None:
    """One of them was stored, two are good by themselves, and one is refused alone as well."""

    def answer(seqs: list[int], payload: bytes) -> dict[str, Any]:
        if len(seqs) > 1:
            return {"seqs": seqs[:1], "refused": [refusal(payload)]} if seqs[0] == 0 else {"seqs": seqs}
        return {"refused": [refusal(payload)]} if seqs == [2] else {"seqs": seqs}

    async with running(tmp_path, answer, batch=4) as (box, queue, sent):
        await box.drain()
    assert sent == [[0, 1, 2, 3], [1], [2], [3], [4, 5]]
    assert given_up(queue) == [2]


async def test_what_is_not_answered_comes_again_and_survives_the_box(tmp_path: Path) -> None:
    third = asyncio.Event()
    left = iter(range(2))

    def keep_silent(_seqs: list[int], _payload: bytes) -> dict[str, Any]:
        if next(left, None) is None:
            third.set()
        return {}

    async with running(tmp_path, keep_silent, count=2, patience_s=0.02) as (_, queue, sent):
        await third.wait()
        assert len(queue) == 2
    assert sent[:3] == [[0, 1]] * 3
    async with running(tmp_path, lambda seqs, _: {"seqs": seqs}, count=0) as (box, queue, sent):
        await box.drain()
        assert len(queue) == 0
    assert sent == [[0, 1]]


async def test_a_refusal_of_a_message_of_another_changes_nothing(tmp_path: Path) -> None:
    async with running(tmp_path, lambda *_: {}, count=1) as (box, queue, _):
        box.receive("ack", json.dumps({"refused": [refusal(b"x")]}).encode())
        assert len(queue) == 1
