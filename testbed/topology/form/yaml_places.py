"""YAML into plain data plus the place of every key and value, so that each error can say file:line:column.

The reader works on parser events instead of PyYAML's constructors: no tags, no objects, no YAML 1.1 surprises
(`no` and `on` stay text, `1:30` is not ninety), bounded size, depth and alias expansion.
"""

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

import yaml

from node_agent.errors import InputError

MAX_BYTES = 1 << 20
MAX_DEPTH = 20
MAX_VALUES = 200_000

_PARSER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
# libyaml reads ahead and may reach its own depth bound before this reader reaches MAX_DEPTH. The wording differs
# between versions ("exceeded maximum nesting depth", "Maximum nesting level reached ...").
_PARSER_TOO_DEEP = re.compile(r"max(imum)? nest(ing)?[ _](depth|level)", re.IGNORECASE)
_UNPRINTABLE = re.compile(r"[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_INDENTED_BY_TAB = re.compile(r" *\t")
_INTEGER = re.compile(r"[+-]?\d+", re.ASCII)
_FLOAT = re.compile(r"[+-]?(\d+\.\d*|\.\d+|\d+)([eE][+-]?\d+)?", re.ASCII)
_SPECIAL_FLOATS = {".nan": math.nan, ".inf": math.inf, "+.inf": math.inf, "-.inf": -math.inf}
_WORDS: dict[str, object] = {"true": True, "false": False, "null": None, "~": None, "": None}

Path = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class TopologyProblem:
    """A fault in a file: its place (line and column from 1), a message, and a hint how to mend it.

    If the source is an option of the command line, line and column are 0.
    """

    source: str
    line: int
    column: int
    message: str
    hint: str = ""

    def __str__(self) -> str:
        place = f":{self.line}:{self.column}" if self.line else ""
        return f"{self.source}{place}: {self.message}"


class YamlError(InputError):
    """A text that is not YAML, or uses more of YAML than topologies may: tags, several documents, deep nesting."""

    def __init__(self, problem: TopologyProblem) -> None:
        super().__init__(str(problem), hint=problem.hint)
        self.problem = problem


@dataclass(slots=True)
class YamlPlace:
    """The place of a value (line and column from 1), of its key, and of the values inside it."""

    line: int
    column: int
    key_line: int
    key_column: int
    inner: dict[str | int, "YamlPlace"] = field(default_factory=dict)

    def find(self, path: Path, *, of_key: bool = False) -> tuple[int, int]:
        """Return line and column of the value at `path`, or of its key; for an absent one, of its nearest parent."""
        place = self
        for index, step in enumerate(path):
            inside = place.inner.get(step)
            if inside is None:
                return place.line, place.column
            place = inside
            if of_key and index == len(path) - 1:
                return place.key_line, place.key_column
        return place.line, place.column


@dataclass(slots=True)
class _Built:
    """A complete value with its place and the number of values in it (aliases counted in full)."""

    value: object
    place: YamlPlace
    size: int


@dataclass(slots=True)
class _Open:
    """A mapping or sequence that is still being read."""

    value: dict[str, object] | list[object]
    place: YamlPlace
    anchor: str | None
    key: str | None = None  # the key whose value comes next
    key_mark: tuple[int, int] = (1, 1)
    size: int = 1


class _Reader:
    """Builds data from parser events with an explicit stack."""

    def __init__(self, source: str) -> None:
        self.source = source
        self.stack: list[_Open] = []
        self.anchors: dict[str, _Built | None] = {}
        self.duplicates: list[TopologyProblem] = []
        self.total = 0
        self.root: _Built | None = None

    def fail(self, mark: tuple[int, int], message: str, hint: str = "") -> YamlError:
        return YamlError(TopologyProblem(self.source, *mark, message, hint))

    def feed(self, event: yaml.Event) -> None:
        assert event.start_mark is not None  # both parsers set it; the stubs allow None for hand-made events
        mark = (event.start_mark.line + 1, event.start_mark.column + 1)
        if isinstance(event, yaml.DocumentStartEvent) and self.root is not None:
            raise self.fail(mark, "a second document begins here", "one topology per file")
        tag = getattr(event, "tag", None)
        if tag is not None and tag != "!":
            raise self.fail(mark, f"the tag {tag} is not allowed", "write plain values without tags")
        if isinstance(event, yaml.ScalarEvent):
            self.scalar(event, mark)
        elif isinstance(event, yaml.AliasEvent):
            self.alias(event, mark)
        elif isinstance(event, yaml.MappingStartEvent | yaml.SequenceStartEvent):
            self.open(event, mark)
        elif isinstance(event, yaml.MappingEndEvent | yaml.SequenceEndEvent):
            top = self.stack.pop()
            self.add(_Built(top.value, top.place, top.size), top.anchor)

    def open(self, event: yaml.MappingStartEvent | yaml.SequenceStartEvent, mark: tuple[int, int]) -> None:
        if len(self.stack) >= MAX_DEPTH:
            raise self.fail(mark, f"nested more than {MAX_DEPTH} deep", "a topology needs about four levels")
        if self.expects_key():
            raise self.fail(mark, "a key must be a plain word", "write key: value")
        if event.anchor is not None:
            self.anchors[event.anchor] = None
        value: dict[str, object] | list[object] = {} if isinstance(event, yaml.MappingStartEvent) else []
        self.stack.append(_Open(value, self.place(mark), event.anchor))

    def scalar(self, event: yaml.ScalarEvent, mark: tuple[int, int]) -> None:
        if self.expects_key():
            self.key(event.value, mark)
            return
        plain = event.style is None or event.style == ""
        value = plain_value(event.value) if plain and event.implicit[0] else event.value
        self.add(_Built(value, self.place(mark), 1), event.anchor)

    def key(self, key: str, mark: tuple[int, int]) -> None:
        top = self.stack[-1]
        assert isinstance(top.value, dict)
        if key in top.value:
            first = top.place.inner[key]
            self.duplicates.append(
                TopologyProblem(
                    self.source,
                    *mark,
                    f"`{key}` is stated twice",
                    f"the first stands in line {first.key_line}; keep one",
                )
            )
        top.key, top.key_mark = key, mark

    def alias(self, event: yaml.AliasEvent, mark: tuple[int, int]) -> None:
        if self.expects_key():
            raise self.fail(mark, "a key must be a plain word", "write key: value")
        built = self.anchors.get(event.anchor or "")
        if built is None:
            known = "refers to itself" if event.anchor in self.anchors else "has no anchor above"
            raise self.fail(mark, f"the alias *{event.anchor} {known}", "state the value here")
        place = self.place(mark)
        place.inner = built.place.inner
        self.add(_Built(built.value, place, built.size), None)

    def add(self, built: _Built, anchor: str | None) -> None:
        if anchor is not None:
            self.anchors[anchor] = built
        if not self.stack:
            self.root = built
            return
        top = self.stack[-1]
        top.size += built.size
        if top.size > MAX_VALUES:
            raise self.fail(
                (built.place.line, built.place.column),
                f"more than {MAX_VALUES} values, aliases included",
                "use groups (count: 50) instead of single entries",
            )
        if isinstance(top.value, list):
            top.place.inner[len(top.value)] = built.place
            top.value.append(built.value)
        elif top.key is not None:
            top.place.inner[top.key] = built.place
            top.value[top.key] = built.value
            top.key = None

    def place(self, mark: tuple[int, int]) -> YamlPlace:
        top = self.stack[-1] if self.stack else None
        key_mark = top.key_mark if top is not None and top.key is not None else mark
        return YamlPlace(*mark, *key_mark)

    def expects_key(self) -> bool:
        return bool(self.stack) and isinstance(self.stack[-1].value, dict) and self.stack[-1].key is None


def plain_value(text: str) -> object:
    """Return the value of an unquoted YAML word: true, false, null, a decimal number, or the text itself."""
    if text.lower() in _WORDS:
        return _WORDS[text.lower()]
    if len(text) > 64:
        return text
    if text.lower() in _SPECIAL_FLOATS:
        return _SPECIAL_FLOATS[text.lower()]
    if _INTEGER.fullmatch(text):
        return int(text)
    if _FLOAT.fullmatch(text):
        return float(text)
    return text


def read_yaml(text: str, source: str) -> tuple[object, YamlPlace, list[TopologyProblem]]:
    """Read one YAML document; return its data, the places of all values, and a problem per duplicate key.

    Keys are always text.

    Raises:
        YamlError: the text is not YAML, or exceeds a bound; it names the first such place.
    """
    if len(text) > MAX_BYTES:
        raise YamlError(TopologyProblem(source, 1, 1, f"longer than {MAX_BYTES >> 20} MiB", "use groups (count: 50)"))
    if (bad := _UNPRINTABLE.search(text)) is not None:
        line = text.count("\n", 0, bad.start()) + 1
        column = bad.start() - text.rfind("\n", 0, bad.start())
        raise YamlError(TopologyProblem(source, line, column, f"unprintable character {bad[0]!r}", "remove it"))
    try:
        reader = _read(text, source, _PARSER)
    except yaml.MarkedYAMLError as error:
        raise _refusal(error, text, source) from None
    except RecursionError:
        raise YamlError(_too_deep(source)) from None
    if reader.root is None:
        raise YamlError(TopologyProblem(source, 1, 1, "the file is empty", "start with: name: my-topology"))
    return reader.root.value, reader.root.place, reader.duplicates


def _read(text: str, source: str, parser: type) -> _Reader:
    reader = _Reader(source)
    events: Iterator[yaml.Event] = yaml.parse(text, Loader=parser)
    for event in events:
        reader.feed(event)
    return reader


def _refusal(error: yaml.MarkedYAMLError, text: str, source: str) -> YamlError:
    """Turn an error of the parser into this reader's own."""
    if not _PARSER_TOO_DEEP.search(error.problem or ""):
        return YamlError(_syntax_problem(error, text, source))
    try:  # PyYAML's own parser has no such bound, so this reader finds the place
        _read(text, source, yaml.SafeLoader)
    except YamlError as found:
        return found
    except (yaml.MarkedYAMLError, RecursionError):
        pass
    return YamlError(_too_deep(source))


def _too_deep(source: str) -> TopologyProblem:
    return TopologyProblem(source, 1, 1, "nested too deep", "a topology needs about four levels")


def _syntax_problem(error: yaml.MarkedYAMLError, text: str, source: str) -> TopologyProblem:
    mark = error.problem_mark or error.context_mark
    line, column = (mark.line + 1, mark.column + 1) if mark is not None else (1, 1)
    lines = text.split("\n")
    if line > len(lines):  # the C parser reports the end of the text one line too low
        line, column = len(lines), len(lines[-1]) + 1
    said = (error.problem or "cannot be read").strip()
    context = f" ({error.context.strip()})" if error.context else ""
    tabbed = _INDENTED_BY_TAB.match(lines[line - 1]) or lines[line - 1][column - 1 : column] == "\t"
    hint = "indent with spaces, not tabs" if tabbed else "check indentation, colons, brackets and quotes"
    return TopologyProblem(source, line, column, f"not YAML: {said}{context}", hint)
