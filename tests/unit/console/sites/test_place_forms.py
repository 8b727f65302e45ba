from dataclasses import replace

from app.console.framework.form_fields import FormFields
from app.console.sites import place_forms


def fields(**values: str) -> FormFields:
    return FormFields({name: [value] for name, value in values.items()})


def test_a_site_has_the_position_that_was_typed() -> None:
    typed = fields(name=" Quai ", kind="Street", timezone="Europe/Paris", latitude="43,6", longitude="1.4")
    body = place_forms.make_site_body(replace(typed, language="fr"))
    assert body["location"] == {"type": "Point", "coordinates": [1.4, 43.6]}
    assert (body["name"], body["kind"], body["address"]) == ("Quai", "street", None)
    assert body["register_precision_m"] == 100
    stored = place_forms.read_site_fields({"name": "Quai", "location": body["location"]})
    assert (stored["latitude"], stored["longitude"]) == (43.6, 1.4)


def test_half_a_position_is_sent_for_the_api_to_refuse() -> None:
    body = place_forms.make_site_body(fields(latitude="north"))
    assert body["location"] == {"type": "Point", "coordinates": ["north"]}
    assert place_forms.make_site_body(fields())["location"]["coordinates"] == []


def test_a_box_without_a_position_is_where_its_site_is() -> None:
    body = place_forms.make_box_body(fields(name="", tags=" a, ,b ", interval_s="60", ack="yes"))
    assert body["location"] is None
    assert (body["name"], body["tags"], body["interval_s"], body["ack"]) == (None, ["a", "b"], 60, True)
    stored = place_forms.read_box_fields({"tags": ["a", "b"], "location": None})
    assert (stored["tags"], stored["latitude"]) == ("a, b", "")


def test_only_objects_are_configurations() -> None:
    assert place_forms.parse_json_object('{"a": 1}') == {"a": 1}
    assert place_forms.parse_json_object("[1]") == "not an object"
    assert "line 1" in str(place_forms.parse_json_object('{"a": }'))
