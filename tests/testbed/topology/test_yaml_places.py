"""The YAML reader: places, plain values, and bounds against hostile files."""

import math
import time

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from testbed.topology.form import yaml_places
from testbed.topology.form.yaml_places import YamlError, read_yaml


def test_knows_the_place_of_every_key_and_value() -> None:
    text = "name: a\nlinks:\n  - {from: x, to: [y, z]}\n"
    data, place, problems = read_yaml(text, "t")
    assert data == {"name": "a", "links": [{"from": "x", "to": ["y", "z"]}]}
    assert not problems
    assert place.find(("name",)) == (1, 7)
    assert place.find(("name",), of_key=True) == (1, 1)
    assert place.find(("links", 0, "to", 1)) == (3, 23)
    assert place.find(("links", 0, "to"), of_key=True) == (3, 15)
    assert place.find(("links", 0, "absent")) == (3, 5)


def test_reads_plain_words_without_the_surprises_of_yaml_1_1() -> None:
    data, _, _ = read_yaml("[no, on, 1:30, 010, 1e3, .5, true, ~, 2024-01-01, 0x10, '5', .inf, 1_0]", "t")
    assert data == ["no", "on", "1:30", 10, 1000.0, 0.5, True, None, "2024-01-01", "0x10", "5", math.inf, "1_0"]


def test_duplicate_keys_are_reported_together() -> None:
    _, _, problems = read_yaml("a: 1\nb: {c: 1, c: 2}\na: 3\n", "t")
    assert [str(problem) for problem in problems] == ["t:2:11: `c` is stated twice", "t:3:1: `a` is stated twice"]
    assert "line 1" in problems[1].hint


def test_an_alias_stands_for_its_value_and_has_its_own_place() -> None:
    data, place, _ = read_yaml("a: &x {b: 1}\nc: *x\n", "t")
    assert data == {"a": {"b": 1}, "c": {"b": 1}}
    assert place.find(("c",)) == (2, 4)
    assert place.find(("c", "b")) == (1, 11)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: [1", "t:1:6: not YAML"),
        ("a:\n\t- b\n", "t:2:1: not YAML"),
        ("a: b: c\n", "t:1:5: not YAML"),
        ("a: 'x\n", "not YAML"),
        ("", "t:1:1: the file is empty"),
        ("# only a comment\n", "the file is empty"),
        ("a: 1\n---\nb: 2\n", "t:2:1: a second document"),
        ("a: !!python/object/apply:os.system ['true']\n", "t:1:4: the tag"),
        ("a: !mine x\n", "the tag"),
        ("a: &x [*x]\n", "refers to itself"),
        ("a: *x\n", "has no anchor above"),
        ("? [1, 2]\n: 3\n", "a key must be a plain word"),
        ("a: \x00\n", "t:1:4: unprintable character"),
        ("[" * 5000, "t:1:21: nested more than 20 deep"),
        ("- " * 5000, "nested more than 20 deep"),
    ],
)
def test_refuses_what_a_topology_does_not_need(text: str, said: str) -> None:
    with pytest.raises(YamlError) as caught:
        read_yaml(text, "t")
    assert said in str(caught.value)
    assert caught.value.hint


def reading_ahead(words: str) -> type:
    """A parser with a depth bound of its own, which it reaches before the first event and reports in these words."""

    class Ahead(yaml.SafeLoader):
        def check_event(self, *_kinds: object) -> bool:
            raise yaml.scanner.ScannerError("while increasing flow level", self.get_mark(), words, self.get_mark())

    return Ahead


@pytest.mark.parametrize("text", ["[" * 5000, "- " * 5000, "{a: " * 5000, "[" * yaml_places.MAX_BYTES])
@pytest.mark.parametrize(
    "parser",
    [
        pytest.param(yaml_places._PARSER, id="the installed one"),
        pytest.param(yaml.SafeLoader, id="no libyaml"),
        pytest.param(reading_ahead("exceeded maximum nesting depth"), id="PyYAML 6.0.4"),
        pytest.param(
            reading_ahead("Maximum nesting level reached, set with yaml_set_max_nest_level())"), id="libyaml's parser"
        ),
    ],
)
def test_what_is_nested_too_deep_has_the_same_place_whatever_the_parser_says(monkeypatch, parser, text) -> None:
    monkeypatch.setattr(yaml_places, "_PARSER", parser)
    with pytest.raises(YamlError) as caught:
        read_yaml(text, "t")
    step = len(text[:4]) if text.startswith("{") else 2 if text.startswith("-") else 1
    assert str(caught.value) == f"t:1:{20 * step + 1}: nested more than 20 deep"


def test_a_parsers_other_words_stay_as_they_are(monkeypatch) -> None:
    monkeypatch.setattr(yaml_places, "_PARSER", reading_ahead("found something else"))
    with pytest.raises(YamlError, match="not YAML: found something else"):
        read_yaml("a: 1", "t")


@pytest.mark.parametrize(
    ("text", "tabs"),
    [
        ("a:\n\tb: 1\n", True),
        ("a: 1\n\tb: 2\n", True),
        ("a:\n  b: 1\n\tc: 2\n", True),
        ("links:\n  - {a: 1}\n\t- {b: 2}\n", True),
        ("a:\n \t b: 1\n", True),
        ("a:\n  - x\n  -\ty: 1\n    z: 2\n", True),
        ("a: b: c\n", False),
        ("a: b\n c: d\t\n", False),
        ("a: [1\n", False),
    ],
)
@pytest.mark.parametrize("parser", [yaml.SafeLoader, getattr(yaml, "CSafeLoader", yaml.SafeLoader)])
def test_tabs_that_indent_are_named(text: str, tabs: bool, parser: type, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(yaml_places, "_PARSER", parser)
    with pytest.raises(YamlError) as caught:
        read_yaml(text, "t")
    assert ("not tabs" in caught.value.hint) == tabs


@pytest.mark.timing
def test_an_alias_bomb_is_refused_before_it_grows() -> None:
    lines = ["a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 15)]
    begun = time.process_time()
    with pytest.raises(YamlError, match="more than 200000 values"):
        read_yaml("\n".join(lines), "t")
    assert time.process_time() - begun < 1


def test_a_long_text_is_refused() -> None:
    with pytest.raises(YamlError, match="longer than 1 MiB"):
        read_yaml("#" * (yaml_places.MAX_BYTES + 1), "t")


_PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text("ab:-#{}[]'\" é", max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text("abc_-é ", min_size=1, max_size=6), inner, max_size=4)
    ),
    max_leaves=20,
)


@given(_PLAIN)
def test_reads_what_a_yaml_writer_writes(data: object) -> None:
    text = yaml.safe_dump(data, allow_unicode=True)
    read, _, problems = read_yaml(text, "t")
    assert read == data
    assert not problems


@given(st.text("ab:,-[]{}&*!|>'\"%@`#\n\t ?", max_size=60))
def test_any_text_is_read_or_refused_with_a_place(text: str) -> None:
    refused = None
    try:
        read_yaml(text, "t")
    except YamlError as error:
        refused = error.problem
    assert refused is None or (1 <= refused.line <= text.count("\n") + 1 and refused.column >= 1)
