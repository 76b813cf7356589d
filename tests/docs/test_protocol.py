"""docs/protocol.md names every message and every field, and its numbers are those of the code."""

import re

import pytest

from node_agent.process.transport import PORTS
from node_agent.wire import MAGIC, VERSION, Ack, encode
from tests.docs import constants
from tests.docs.field_docs import field_docs
from tests.docs.pages import DOCS, rows, section, written_pages
from tests.docs.reference import MESSAGES, PARTS

TEXT = (DOCS / "protocol.md").read_text(encoding="utf-8")
CONSTANTS = [
    (page.name, *found, cells[1])
    for page in written_pages()
    for cells in rows(page.read_text(encoding="utf-8"))
    if (found := constants.named(cells[0])) is not None
]


def test_every_message_has_a_sender():
    told = [cells[0].strip("`") for cells in rows(section(TEXT, "Who sends what"))]
    assert sorted(told) == sorted(cls.__name__ for cls in MESSAGES)


@pytest.mark.parametrize("cls", [*MESSAGES, *PARTS], ids=lambda cls: cls.__name__)
def test_every_field_of_a_message_is_listed(cls):
    listed = [cells[0].strip("`") for cells in rows(section(TEXT, cls.__name__))]
    assert listed == [one.name for one in field_docs(cls)] == list(cls.__struct_encode_fields__)


def test_the_ports():
    listed = {cells[0].strip("`"): int(cells[1]) for cells in rows(section(TEXT, "On the wire"))}
    assert listed == PORTS


def test_the_header():
    (header,) = encode(Ack(1, 1, 0.0, 1))
    (shown,) = re.findall(r"frame 1, header    ([0-9a-f ]+) \| ([0-9a-f]+) \|", TEXT)
    assert bytes.fromhex(shown[0]) == MAGIC
    assert bytes.fromhex(shown[1]) == bytes([VERSION])
    assert bytes(header).startswith(bytes.fromhex("".join(shown)))
    assert b"\xa4type\xa3ack" in bytes(header)


@pytest.mark.parametrize(("page", "name", "path", "stated"), CONSTANTS, ids=[f"{one[0]}-{one[1]}" for one in CONSTANTS])
def test_a_constant_of_a_page_is_that_of_the_code(page, name, path, stated):
    assert constants.number(stated, name=name) == pytest.approx(constants.constant(name, path)), page
