"""The picture of the packages in docs/architecture.md shows the layers that import-linter holds."""

import re
import tomllib
from itertools import pairwise

import pytest

from tests.docs.pages import DOCS, ROOT, section

HOUSE = section((DOCS / "architecture.md").read_text(encoding="utf-8"), "Architecture").partition("\n| room")[0]
CONTRACTS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]


def layer_of(package: str) -> dict[str, int]:
    """The layer of each room of a package, the highest 0."""
    (layers,) = [contract["layers"] for contract in CONTRACTS if contract.get("containers") == [package]]
    return {room.strip(): number for number, layer in enumerate(layers) for room in layer.split(":")}


def shown(package: str) -> list[list[str]]:
    """The rooms of a package, line by line."""
    box = HOUSE[HOUSE.index(f"| {package}/") :].partition("+---")[0]
    rooms = layer_of(package)
    head, *lines_below = box.splitlines()
    described_from = 4 + re.search(r"/ +", head).end()  # a page indents the box by four
    lines = [re.findall(r"\w+", line[:described_from]) for line in lines_below]
    return [found for line in lines if (found := [word for word in line if word in rooms])]


@pytest.mark.parametrize("package", ["testbed", "node_agent"])
def test_lines_of_the_picture_are_layers(package):
    layer = layer_of(package)
    lines = [sorted({layer[room] for room in line}) for line in shown(package)]
    assert all(above[-1] < below[0] for above, below in pairwise(lines))
    assert all(len(line) == 1 for line in lines[:-1])  # the last one gathers what all read


@pytest.mark.parametrize("package", ["testbed", "node_agent"])
def test_every_room_is_in_the_picture(package):
    folders = {path.parent.name for path in (ROOT / package).glob("*/__init__.py")}
    assert folders <= {room for line in shown(package) for room in line}
