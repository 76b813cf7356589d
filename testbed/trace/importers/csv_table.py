"""Tables of comma-separated values with a header: columns by name, rows in batches, and errors by line and column."""

import csv
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

from node_agent.suggest import closest
from testbed.trace.error import TraceError
from testbed.trace.files import BYTE_ORDER_MARK
from testbed.trace.importers.contract import BATCH_ROWS
from testbed.trace.peeked import MAX_HEAD_BYTES, PeekedFile
from testbed.wording import shortened

Value = TypeVar("Value")

_DELIMITERS = ",;\t"
_UTF_16 = (b"\xff\xfe", b"\xfe\xff")
_TEXT_HINT = "a trace is a text file in UTF-8"


def text_lines(file: PeekedFile) -> Iterator[str]:
    """Yield the lines of a file as text.

    Raises:
        TraceError: a line is too long, or no text.
    """
    for number, raw in enumerate(file.lines(MAX_HEAD_BYTES), start=1):
        where = f"{file.source}:{number}"
        if number == 1:
            if raw.startswith(_UTF_16):
                raise TraceError([f"{where}: this is UTF-16 text"], hint="save it as UTF-8, or use iconv -f UTF-16")
            raw = raw.removeprefix(BYTE_ORDER_MARK)  # noqa: PLW2901
        if len(raw) >= MAX_HEAD_BYTES and not raw.endswith(b"\n"):
            raise TraceError([f"{where}: longer than {MAX_HEAD_BYTES >> 10} KiB"], hint=_TEXT_HINT)
        if b"\0" in raw:
            raise TraceError([f"{where}: not text: it has a NUL byte"], hint=_TEXT_HINT)
        try:
            yield raw.decode()
        except UnicodeDecodeError:
            raise TraceError([f"{where}: not UTF-8 text"], hint="convert it, for example by iconv -t UTF-8") from None


@dataclass(frozen=True, slots=True)
class Rows:
    """Some rows of a table, with the line at which each ends."""

    source: str
    names: Sequence[str]
    cells: Sequence[Sequence[str]]
    lines: Sequence[int]

    def read(self, column: int, reader: Callable[[str], Value], *, hint: str) -> list[Value]:
        """Read a column. Raises TraceError for the first cell whose reader raises ValueError, with its message."""
        try:
            return [reader(row[column]) for row in self.cells]
        except ValueError:
            pass
        found = []
        for line, row in zip(self.lines, self.cells, strict=True):
            try:
                found.append(reader(row[column]))
            except ValueError as error:
                message = f"{self.source}:{line}: column {shown(self.names[column])}: {error}: {shown(row[column])}"
                raise TraceError([message], hint=hint) from None
        return found


class CsvTable:
    """A table with a header, whose rows are read in batches.

    Attributes:
        source: the file's name.
        names: the columns.

    Raises:
        TraceError: the file is empty, or two columns have one name.
    """

    def __init__(self, file: PeekedFile) -> None:
        """Read the header."""
        self.source = file.source
        lines = text_lines(file)
        header = next((line for line in lines if line.strip()), None)
        if header is None:
            raise TraceError([f"{file.source}:1: empty"], hint="a table begins with the names of its columns")
        delimiter = max(_DELIMITERS, key=header.count)
        before = file.first_line
        self.names = [name.strip() for name in self._one(header, delimiter, before)]
        folded = [name.casefold() for name in self.names]
        for place, name in enumerate(folded):
            if name and name in folded[:place]:
                message = f"{self.source}:{before}: two columns are named {shown(self.names[place])}"
                raise TraceError([message], hint="rename or remove one of them")
        self._first = before
        self._rows = csv.reader(lines, delimiter=delimiter, strict=True)

    def _one(self, header: str, delimiter: str, line: int) -> list[str]:
        try:
            return next(csv.reader([header], delimiter=delimiter, strict=True))
        except csv.Error as error:
            message = f"{self.source}:{line}: the header is no list of columns: {error}"
            raise TraceError([message], hint="check its quotes") from None

    def find(self, name: str) -> int | None:
        """Return the place of the column of a name, in any case; None if there is none."""
        folded = [each.casefold() for each in self.names]
        return folded.index(name.casefold()) if name.casefold() in folded else None

    def column(self, name: str) -> int:
        """Return the place of the column of a name, in any case. Raises TraceError if there is none."""
        found = self.find(name)
        if found is None:
            guess = closest(name, dict.fromkeys(self.names))
            some = ", ".join(shown(each) for each in self.names[:8]) + (", …" if len(self.names) > 8 else "")
            hint = f"did you mean {guess}?" if guess else f"the columns are {some}"
            raise TraceError([f"{self.source}:{self._first}: there is no column {shown(name)}"], hint=hint)
        return found

    def batches(self) -> Iterator[Rows]:
        """Yield the rows, BATCH_ROWS at a time; empty lines are skipped.

        Raises:
            TraceError: a row has too few or too many values, or a quote has no end.
        """
        cells: list[list[str]] = []
        lines: list[int] = []
        width = len(self.names)
        rows, first = self._rows, self._first
        while True:
            try:
                row = next(rows, None)
            except csv.Error as error:
                message = f"{self.source}:{first + rows.line_num}: {_csv_fault(str(error))}"
                raise TraceError([message], hint='a quote within a quoted value is written twice: ""') from None
            if row is None:
                break
            if not row:
                continue
            if len(row) != width:
                message = f"{self.source}:{first + rows.line_num}: {len(row)} values for {width} columns"
                raise TraceError([message], hint="is the line cut off, or does a value need quotes?")
            cells.append(row)
            lines.append(first + rows.line_num)
            if len(cells) == BATCH_ROWS:
                yield Rows(self.source, self.names, cells, lines)
                cells, lines = [], []
        if cells:
            yield Rows(self.source, self.names, cells, lines)


def names_of(first: bytes) -> frozenset[str]:
    """The names of the columns in a header, in lower case; no names if it is no text."""
    text = first.decode(errors="replace")
    delimiter = max(_DELIMITERS, key=text.count)
    return frozenset(name.strip().strip('"').casefold() for name in text.split(delimiter))


def whole_number(text: str) -> int:
    """Read a whole number from 0 to 2^31 - 1. Raises ValueError."""
    if len(text) > 40 or "_" in text:
        raise ValueError("not a whole number")
    try:
        value = int(text)
    except ValueError:
        number = float(text) if text.strip() else -1.0  # pandas writes 12.0 for 12
        if not number.is_integer():
            raise ValueError("not a whole number") from None
        value = int(number)
    if not 0 <= value < 2**31:
        raise ValueError("not a whole number from 0 to 2147483647")
    return value


def shown(text: str) -> str:
    """A text from a file for a message: quoted, printable and short."""
    return repr(shortened(text, 40))


def _csv_fault(message: str) -> str:
    if "field limit" in message or "unexpected end" in message:
        return "a quote that has no end"
    return f"not comma-separated values: {message}"
