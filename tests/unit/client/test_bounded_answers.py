import json

from app.client.mcp_server.bounded_answers import MOST_CHARACTERS, WARNING, make_answer


def test_a_whole_answer_says_so() -> None:
    answer = make_answer([{"id": "a"}], source="GET /v1/sites", notes=["n"], about={"unit": "dB"})
    assert answer == {
        "warning": WARNING,
        "source": "GET /v1/sites",
        "complete": True,
        "notes": ["n"],
        "unit": "dB",
        "count": 1,
        "data": [{"id": "a"}],
    }


def test_what_does_not_fit_is_cut_off_and_noted() -> None:
    entries = [{"number": number, "text": "x" * 1_000} for number in range(100)]
    answer = make_answer(entries, source="s")
    assert len(json.dumps(answer)) < MOST_CHARACTERS + 2_000
    assert (answer["complete"], answer["count"]) == (False, len(answer["data"]))
    assert f"Only {answer['count']} of 100 entries fit" in answer["notes"][0]
    assert [entry["number"] for entry in answer["data"]] == list(range(answer["count"]))


def test_more_pages_are_noted() -> None:
    answer = make_answer([], source="s", has_more=True)
    assert not answer["complete"]
    assert answer["notes"] == ["There are more entries than the limit. Ask for a larger limit, or filter."]
    answer = make_answer([], source="s", has_more=True, advice="Ask for a shorter time.")
    assert answer["notes"] == ["There are more entries than the limit. Ask for a shorter time."]


def test_texts_have_no_characters_that_hide_or_steer() -> None:
    answer = make_answer([{"na\u200bme": ["a\x1b[2J\u202eb\U000e0041", {"x": "\n"}], "n": 1.5}], source="s")
    assert answer["data"] == [{"na me": ["a [2J b ", {"x": " "}], "n": 1.5}]
