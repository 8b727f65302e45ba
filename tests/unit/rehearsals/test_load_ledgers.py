import json
import time

import aiohttp

from simulators.webhook_signatures import compute_signature, decode_secret
from tools.rehearsals.city_load import LoadOutcome
from tools.rehearsals.mqtt_load import ALARM_EVERY, encode_sample, is_alarm
from tools.rehearsals.webhook_ledger import WebhookLedger

SECRET = "whsec_c2VjcmV0LW9mLWEtcmVoZWFyc2Fs"


async def post(ledger: WebhookLedger, message_id: str, *, signed: bool = True) -> int:
    now, body = str(int(time.time())), b"{}"
    signature = compute_signature(decode_secret(SECRET), message_id, now, body) if signed else "AAAA"
    headers = {"webhook-id": message_id, "webhook-timestamp": now, "webhook-signature": f"v1,{signature}"}
    async with (
        aiohttp.ClientSession() as session,
        session.post(ledger.url, data=body, headers=headers) as answer,
    ):
        return answer.status


async def test_counts_webhooks_that_come_twice_and_those_with_a_wrong_signature() -> None:
    ledger = WebhookLedger()
    async with ledger.listening():
        ledger.use_secret(SECRET)
        assert [await post(ledger, "msg_1"), await post(ledger, "msg_2")] == [204, 204]
        assert ledger.twice == 0
        assert await post(ledger, "msg_1") == 204
        assert await post(ledger, "msg_3", signed=False) == 401
    assert (len(ledger.handled), ledger.twice, ledger.wrong) == (2, 1, 1)


async def test_fails_a_share_of_the_webhooks_before_it_handles_them() -> None:
    ledger = WebhookLedger(failing_share=1.0)
    async with ledger.listening():
        ledger.use_secret(SECRET)
        assert await post(ledger, "msg_1") == 500
    assert (ledger.handled.total(), ledger.failed) == (0, 1)


def test_one_sample_in_fifty_of_each_box_is_an_alarm() -> None:
    for index in (0, 1, 49, 50, 199):
        alarms = [seq for seq in range(10 * ALARM_EVERY) if is_alarm(index, seq)]
        assert len(alarms) == 10
        values = [json.loads(encode_sample(index, seq, 1))["values"]["pm2_5"] for seq in range(ALARM_EVERY)]
        assert sum(value > 25 for value in values) == 1


def outcome(**changes: int) -> LoadOutcome:
    return LoadOutcome(
        samples=100,
        acknowledged=25,
        alerts=2,
        events=4,
        lost={"samples": changes.get("lost", 0)},
        twice={"deliveries": changes.get("twice", 0)},
        refused=changes.get("refused", 0),
        sent_again=7,
    )


def test_an_outcome_is_good_only_without_losses_repeats_and_refusals() -> None:
    assert outcome().is_good
    assert not any(each.is_good for each in (outcome(lost=1), outcome(twice=1), outcome(refused=1)))
    assert "lost 1 (1 samples); twice 0; refused 0" in str(outcome(lost=1))
