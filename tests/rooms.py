"""Rules for the rooms of the house, each a function of a root folder that yields a line per breach.

A room is a folder of modules. Its neighbours are the rooms beside it (of the same parent), those that it imports, and
those that import it. Imports count wherever they stand: in functions and under TYPE_CHECKING, too.
"""

import ast
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from itertools import combinations
from pathlib import Path

PACKAGES = ("cli", "dtoee_testbed", "testbed", "node_agent")
FLOORS = ("testbed", "node_agent")
MOST_ON_A_FLOOR, MOST_IN_A_ROOM = 10, 14
# One file per verb, per policy, per family of models: they may hold more, and their files may use one name for a part
# that each of them has (a policy's `Parameters`).
ROOMS_OF_LIKE_THINGS = ("cli", "node_agent.models.families", "node_agent.policies")
MOST_LINES_OF_A_MODULE, MOST_LINES_OF_A_FUNCTION = 400, 60

Names = Mapping[str, Sequence[str]]  # modules by what they hold or are called


def full_rooms(root: Path) -> Iterator[str]:
    """Rooms with more files than fit, `__init__` apart."""
    rooms = defaultdict(list)
    for name in _files(root):
        rooms[_room(root, name)].append(name)
    for room, names in rooms.items():
        most = MOST_ON_A_FLOOR if room in FLOORS else MOST_IN_A_ROOM
        if room not in ROOMS_OF_LIKE_THINGS and len(names) > most:
            yield f"{room}: {len(names)} files, {most} at most"


def long_modules(root: Path) -> Iterator[str]:
    """Modules with too many lines, those of the tests apart."""
    for name, file in _modules(root).items():
        lines = len(file.read_text(encoding="utf-8").splitlines())
        if lines > MOST_LINES_OF_A_MODULE:
            yield f"{name}: {lines} lines, {MOST_LINES_OF_A_MODULE} at most"


def long_functions(root: Path) -> Iterator[str]:
    """Functions with too many lines, from `def` to the last one, docstring included."""
    for name, file in _modules(root, (*PACKAGES, "tests")).items():
        for node in ast.walk(_tree(file)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = (node.end_lineno or node.lineno) - node.lineno + 1
                if lines > MOST_LINES_OF_A_FUNCTION:
                    yield f"{name}.{node.name}: {lines} lines, {MOST_LINES_OF_A_FUNCTION} at most"


def circles(root: Path) -> Iterator[str]:
    """Modules that import one another, directly or by way of others."""
    imports = _imports(root)
    reached = {name: _reached(imports, name) for name in imports}
    met = {frozenset(other for other in reached[name] if name in reached[other]) for name in imports}
    yield from sorted(" <-> ".join(sorted(circle)) for circle in met if circle)


def twin_files(root: Path) -> Iterator[str]:
    """Files of one name in neighbouring rooms."""
    names = defaultdict(list)
    for name in _files(root):
        names[name.rpartition(".")[2]].append(name)
    arrows = _arrows(root)
    for name, one, other in _pairs(names):
        rooms = _room(root, one), _room(root, other)
        beside = rooms[0].rpartition(".")[0] == rooms[1].rpartition(".")[0]
        if beside or frozenset(rooms) in arrows:
            yield f"{name}: {one} and {other}"


def twin_classes(root: Path) -> Iterator[str]:
    """Public classes of one name in one room, or in two of which one imports the other."""
    names = defaultdict(list)
    for module, file in _modules(root).items():
        for node in _tree(file).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                names[node.name].append(module)
    arrows = _arrows(root)
    for name, one, other in _pairs(names):
        rooms = frozenset((_room(root, one), _room(root, other)))
        alike = len(rooms) == 1 and rooms <= set(ROOMS_OF_LIKE_THINGS)
        if (len(rooms) == 1 or rooms in arrows) and not alike:
            yield f"{name}: {one} and {other}"


RULES = (full_rooms, long_modules, long_functions, circles, twin_files, twin_classes)


def _pairs(names: Names) -> Iterator[tuple[str, str, str]]:
    for name, modules in names.items():
        for one, other in combinations(sorted(modules), 2):
            yield name, one, other


@cache
def _modules(root: Path, packages: Sequence[str] = PACKAGES) -> Mapping[str, Path]:
    """The packages' modules by their dotted names; `__init__` goes by the name of its package."""
    found = {}
    for package in packages:
        for file in sorted((root / package).rglob("*.py")):
            parts = file.relative_to(root).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = file
    return found


def _files(root: Path) -> Iterator[str]:
    """The modules that are not an `__init__`."""
    return (name for name, file in _modules(root).items() if file.name != "__init__.py")


@cache
def _tree(file: Path) -> ast.Module:
    return ast.parse(file.read_text(encoding="utf-8"))


def _room(root: Path, name: str) -> str:
    return name if _modules(root)[name].name == "__init__.py" else name.rpartition(".")[0]


@cache
def _imports(root: Path) -> Mapping[str, frozenset[str]]:
    """The modules that each module imports."""
    modules = _modules(root)
    found = {}
    for name, file in modules.items():
        named: set[str] = set()
        for node in ast.walk(_tree(file)):
            if isinstance(node, ast.Import):
                named |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                here = _room(root, name).split(".")
                start = here[: len(here) + 1 - node.level] if node.level else []
                source = ".".join([*start, *([node.module] if node.module else [])])
                members = {f"{source}.{alias.name}" for alias in node.names}
                named |= {member if member in modules else source for member in members}
        found[name] = frozenset(named & modules.keys() - {name})
    return found


@cache
def _arrows(root: Path) -> frozenset[frozenset[str]]:
    """The pairs of rooms of which one imports the other."""
    pairs = ((name, other) for name, others in _imports(root).items() for other in others)
    return frozenset(frozenset((_room(root, name), _room(root, other))) for name, other in pairs)


def _reached(imports: Mapping[str, frozenset[str]], start: str) -> frozenset[str]:
    """The modules that `start` imports, directly or by way of others."""
    seen: set[str] = set()
    waiting = [start]
    while waiting:
        fresh = imports[waiting.pop()] - seen
        seen |= fresh
        waiting += fresh
    return frozenset(seen)
