from app.console.sites.config_diff import SettingDifference, compare_configurations, format_configuration


def test_settings_that_differ_come_first() -> None:
    desired = {"interval_s": 60, "leds": False, "noise": {"weighting": "A", "fast": True}}
    reported = {"interval_s": 60, "leds": True, "noise": {"weighting": "A"}, "serial": "A-1"}
    assert compare_configurations(desired, reported) == [
        SettingDifference("leds", "false", "true", "changed"),
        SettingDifference("noise.fast", "true", "", "missing"),
        SettingDifference("serial", "", '"A-1"', "extra"),
        SettingDifference("interval_s", "60", "60", "same"),
        SettingDifference("noise.weighting", '"A"', '"A"', "same"),
    ]


def test_null_and_false_are_not_the_same_as_nothing() -> None:
    (null,) = compare_configurations({"a": None}, {})
    assert (null.desired, null.kind) == ("null", "missing")
    (kinds,) = compare_configurations({"a": False}, {"a": 0})
    assert kinds.kind == "changed"
    assert compare_configurations({"a": {}}, {"a": {}})[0].kind == "same"


def test_without_a_configuration_there_is_nothing_to_compare() -> None:
    assert compare_configurations(None, None) == []
    assert format_configuration(None) == "{}"
    assert format_configuration({"b": "é", "a": 1}) == '{\n  "a": 1,\n  "b": "é"\n}'
