"""The rooms of the house: every rule holds, and each of them notices what it forbids."""

import tomllib
from pathlib import Path

import pytest

from tests.rooms import PACKAGES, RULES, circles, full_rooms, long_functions, long_modules, twin_classes, twin_files

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_house_keeps_its_rules(rule):
    assert list(rule(ROOT)) == []


def test_every_package_is_looked_at():
    setup = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert sorted((*PACKAGES, "tests")) == sorted(setup["tool"]["mypy"]["packages"])
    assert all((ROOT / package / "__init__.py").exists() for package in PACKAGES)


@pytest.fixture
def house(tmp_path):
    """A function that makes a house of these files and gives the lines of a rule on it."""

    def breaches(rule, files):
        for path, text in files.items():
            file = tmp_path / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
        return list(rule(tmp_path))

    return breaches


def files(folder, count):
    return {f"{folder}/__init__.py": "", **{f"{folder}/part_{number}.py": "" for number in range(count)}}


@pytest.mark.parametrize(("folder", "most"), [("testbed", 10), ("node_agent", 10), ("testbed/relay", 14)])
def test_a_room_holds_so_many_files(house, folder, most):
    assert house(full_rooms, files(folder, most)) == []


@pytest.mark.parametrize(("folder", "most"), [("testbed", 10), ("node_agent", 10), ("testbed/relay", 14)])
def test_one_more_is_too_many(house, folder, most):
    assert house(full_rooms, files(folder, most + 1)) == [
        f"{folder.replace('/', '.')}: {most + 1} files, {most} at most"
    ]


def test_a_room_of_like_things_may_hold_more(house):
    assert house(full_rooms, files("node_agent/policies", 40)) == []


def function(lines, start="def f():\n"):
    return start + "    pass\n" * (lines - 1)


def test_the_length_of_modules(house):
    most, more = "x = 1\n" * 400, "x = 1\n" * 401
    made = {"testbed/most.py": most, "testbed/more.py": more, "tests/long.py": more}
    assert house(long_modules, made) == ["testbed.more: 401 lines, 400 at most"]


@pytest.mark.parametrize("package", ["cli", "testbed/relay", "tests"])
def test_the_length_of_functions(house, package):
    method = "class C:\n    async def g(self):\n" + "        pass\n" * 60
    decorated = "@one\n" * 9 + function(60)
    made = {f"{package}/a.py": function(60), f"{package}/b.py": function(61), f"{package}/c.py": method,
            f"{package}/d.py": decorated}  # fmt: skip
    where = package.replace("/", ".")
    assert house(long_functions, made) == [f"{where}.b.f: 61 lines, 60 at most", f"{where}.c.g: 61 lines, 60 at most"]


def test_a_docstring_counts_to_the_length_of_its_function(house):
    assert house(long_functions, {"cli/a.py": function(60, 'def f():\n    """One.\n\n    Two."""\n')})


@pytest.mark.parametrize("back", [
    "import testbed.a",
    "from testbed import a",
    "from testbed.a import X",
    "from . import a",
    "from .a import X",
    "def f():\n    from testbed.a import X",
    "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from testbed.a import X",
])  # fmt: skip
def test_a_circle_of_imports(house, back):
    made = {"testbed/__init__.py": "", "testbed/a.py": "import testbed.b", "testbed/b.py": "import testbed.c"}
    assert house(circles, made | {"testbed/c.py": back}) == ["testbed.a <-> testbed.b <-> testbed.c"]


def test_a_room_that_a_part_of_it_imports(house):
    made = {"testbed/__init__.py": "", "testbed/relay/__init__.py": "from testbed.relay.line import X",
            "testbed/relay/line.py": "from .. import relay"}  # fmt: skip
    assert house(circles, made) == ["testbed.relay <-> testbed.relay.line"]


def test_modules_that_share_an_import_are_no_circle(house):
    made = {"cli/a.py": "import cli.b, cli.c", "cli/b.py": "import cli.c", "cli/c.py": "import json"}
    assert house(circles, made) == []


@pytest.mark.parametrize("other", ["testbed/host/lines.py", "node_agent/core/lines.py"])
def test_files_of_one_name_in_neighbouring_rooms(house, other):
    """Rooms are neighbours as they stand beside one another, or by an import, whichever way it goes."""
    made = {"testbed/relay/lines.py": "", "testbed/relay/line.py": "import node_agent.core.wire",
            "node_agent/core/wire.py": "", other: ""}  # fmt: skip
    found = sorted(["testbed.relay.lines", other.removesuffix(".py").replace("/", ".")])
    assert house(twin_files, made) == [f"lines: {found[0]} and {found[1]}"]


def test_files_of_one_name_in_rooms_far_apart(house):
    made = {"testbed/relay/__init__.py": "", "testbed/host/__init__.py": ""}  # which every room may have
    assert house(twin_files, made | {"testbed/relay/lines.py": "", "node_agent/core/lines.py": ""}) == []


def test_public_classes_of_one_name(house):
    made = {"testbed/relay/a.py": "import node_agent.core.b\nclass Line: ...\nclass _Part: ...",
            "node_agent/core/b.py": "class _Part: ...", "node_agent/core/c.py": "class Line: ..."}  # fmt: skip
    assert house(twin_classes, made) == ["Line: node_agent.core.c and testbed.relay.a"]


def test_public_classes_of_one_name_in_one_room(house):
    made = {f"{room}/{name}.py": "class Parameters: ..." for room in ("testbed/relay", "node_agent/policies")
            for name in ("a", "b")}  # fmt: skip
    assert house(twin_classes, made) == ["Parameters: testbed.relay.a and testbed.relay.b"]  # policies each have theirs


def test_public_classes_of_one_name_in_rooms_far_apart(house):
    assert house(twin_classes, {"cli/a.py": "class Line: ...", "node_agent/core/b.py": "class Line: ..."}) == []
