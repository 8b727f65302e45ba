import pytest

from app.console.fleet.payload_excerpt import locate_fault


@pytest.mark.parametrize(
    ("payload", "detail", "before", "fault"),
    [
        ('{"a": 1,}', "Illegal trailing comma before end of object at character 7", '{"a": 1', ","),
        ('{"a": 1', "the document is cut short after 7 characters", '{"a": ', "1"),
        ("{}{}", "something follows the document at character 2: send one document only", "{}", "{"),
        ('é{"a": [[[', "at byte 9 the nesting is deeper than 32", 'é{"a": [', "["),
        ('{"values": {"warp": 1}}', "'warp' is not a metric: see the catalogue", '{"values": {', '"warp"'),
        (
            '{"values": {"pm2_5": -5}}',
            "values.pm2_5 is -5: the allowed range is 0 to 20000 µg/m³",
            '{"values": {"pm2_5": ',
            "-5",
        ),
        ('{"time": "x"}', "time is not RFC 3339", "{", '"time"'),
        ('{"a": "\u2028", "b": 1}', "'b' is not a field", '{"a": "\u2028", ', '"b"'),
    ],
)
def test_the_fault_is_cut_out_of_the_message(payload: str, detail: str, before: str, fault: str) -> None:
    excerpt = locate_fault(payload, detail)
    assert (excerpt.before, excerpt.fault) == (before, fault)
    assert excerpt.before + excerpt.fault + excerpt.after == payload
    assert excerpt.position == len(before)


@pytest.mark.parametrize(
    ("payload", "detail"),
    [("", "the payload is empty"), ("{}", "samples is empty"), ("{}", "something at character 900 is odd")],
)
def test_without_a_place_the_message_stays_whole(payload: str, detail: str) -> None:
    assert locate_fault(payload, detail) == (payload, "", "", None)
