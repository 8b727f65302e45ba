import math
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from app.client.client_errors import InvalidFileError, UsageError
from app.client.rule_files import find_rule_files, read_rule_files, write_rule_documents

RULE = """\
site: Rue de Metz
rules:
  - name: Fine particles
    severity: warning
    condition:
      all:
        - {metric: pm2_5, operator: ">", threshold: 25}
        - metric: humidity
          operator: <
          threshold: 9e1
    active: [{from: 22:00, to: 06:30, days: [on]}]
"""


def read(folder: Path, text: str, name: str = "rules.yaml") -> Any:  # noqa: ANN401
    file = folder / name
    file.write_text(text)
    return read_rule_files([file])


def test_values_are_those_of_the_core_schema(tmp_path: Path) -> None:
    ((rule,),) = (site.rules for site in read(tmp_path, RULE))
    assert rule.body["active"] == [{"from": "22:00", "to": "06:30", "days": ["on"]}]
    assert rule.body["condition"]["all"][1]["threshold"] == 90.0


def test_a_fault_of_the_api_has_its_line(tmp_path: Path) -> None:
    ((rule,),) = (site.rules for site in read(tmp_path, RULE))
    file = tmp_path / "rules.yaml"
    assert str(rule.fault("body.condition.all.1.threshold", "Too much")) == (
        f"{file}:10: rule 'Fine particles': condition.all.1.threshold: Too much"
    )
    assert rule.fault("body.condition.all.0.clear", "x").line == 7
    assert rule.fault("body.levels", "x").line == 3


def test_json_is_read_with_its_lines(tmp_path: Path) -> None:
    text = '{"site": "a",\n\t"rules": [\n\t\t{"name": "b",\n\t\t"severity": "info"}]}'
    ((rule,),) = (site.rules for site in read(tmp_path, text, "rules.json"))
    assert (rule.body, rule.fault("body.severity", "x").line) == ({"name": "b", "severity": "info"}, 4)


@pytest.mark.parametrize(
    ("text", "faults"),
    [
        ("site: a\nrules: [", ["2: This is not YAML"]),
        ("- a", ["1: A document needs `site`"]),
        ("site: a\nrules:\n- severity: info\n- 7", ["3: A rule needs a `name`", "4: A rule needs a `name`"]),
        ("site: a\nrules:\n- name: a\n  name: b", ["4: The key 'name' occurs twice"]),
        ("site: a\nrules:\n- name: a\n  site_id: b", ["4: Leave out 'site_id'"]),
        ("site: a\nother: 1\nrules: []", ["2: 'other' is unknown"]),
        ("site: a\nrules: &a\n- *a", ["too many values, or nests them too deep"]),
        ("site: a\nrules:\n- name: !!python/object:os.system x", ["3: The tag "]),
        ("site: a\nrules: 7", ["1: `rules` must be a list"]),
    ],
)
def test_faults_name_their_line(tmp_path: Path, text: str, faults: list[str]) -> None:
    with pytest.raises(InvalidFileError) as error:
        read(tmp_path, text)
    lines = str(error.value).splitlines()
    assert len(lines) == len(faults)
    for line, fault in zip(lines, faults, strict=True):
        assert line.startswith(f"{tmp_path}/rules.yaml:")
        assert fault in line


def test_a_small_file_cannot_become_large(tmp_path: Path) -> None:
    lines = ["x0: &x0 [a, a, a, a, a, a, a, a, a, a]"]
    lines += [f"x{n}: &x{n} [{', '.join([f'*x{n - 1}'] * 10)}]" for n in range(1, 9)]
    with pytest.raises(InvalidFileError, match="too many values"):
        read(tmp_path, "site: a\nrules: []\n" + "\n".join(lines))


def test_folders_are_read_in_order(tmp_path: Path) -> None:
    for name in ("b.yml", "a.yaml", "c.json", "notes.txt"):
        (tmp_path / name).write_text("")
    assert [path.name for path in find_rule_files(tmp_path)] == ["a.yaml", "b.yml", "c.json"]
    with pytest.raises(UsageError):
        find_rule_files(tmp_path / "nowhere")


_TEXTS = st.text(st.characters(exclude_categories=["Cs", "Cc"])) | st.sampled_from(
    ["1e3", "yes", "22:00", "~", "null", "on", ".5", "0x1F", "1_000", "2026-11-24", "<<", "="]
)


@given(
    st.recursive(
        _TEXTS | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False) | st.booleans() | st.none(),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_TEXTS, inner, max_size=3),
        max_leaves=12,
    )
)
def test_what_is_written_is_read_again(tmp_path_factory: pytest.TempPathFactory, value: Any) -> None:  # noqa: ANN401
    if _has_infinity(value):
        return
    document = {"site": "a", "rules": [{"name": "r", "value": value}]}
    text = write_rule_documents([document])
    ((rule,),) = (site.rules for site in read(tmp_path_factory.getbasetemp(), text))
    assert rule.body == document["rules"][0]
    # Readers of YAML 1.1 see the same texts.
    assert isinstance(yaml.safe_load(write_rule_documents([{"a": "22:00"}]))["a"], str)


def _has_infinity(value: Any) -> bool:  # noqa: ANN401
    if isinstance(value, dict):
        return any(map(_has_infinity, value.values()))
    if isinstance(value, list):
        return any(map(_has_infinity, value))
    return isinstance(value, float) and math.isinf(value)
