"""An undirected network of nodes and switches: which pairs are joined, and whether the network is connected."""

from collections.abc import Iterable, Iterator


class Forest:
    """Disjoint sets of names (union-find with path halving)."""

    def __init__(self, names: Iterable[str]) -> None:
        self._parent = {name: name for name in names}

    def root(self, name: str) -> str:
        """Return the representative of the set that holds `name`."""
        parent = self._parent
        while parent[name] != name:
            parent[name] = parent[parent[name]]
            name = parent[name]
        return name

    def join(self, first: str, second: str) -> None:
        """Unite the sets of two names."""
        self._parent[self.root(second)] = self.root(first)


class Network:
    """Places of nodes, and switches, with the links between them; only switches forward frames."""

    def __init__(self, nodes: Iterable[str], switches: Iterable[str], links: Iterable[tuple[str, str]]) -> None:
        in_order = tuple(switches)
        self.switches = frozenset(in_order)
        self.neighbours: dict[str, set[str]] = {name: set() for name in (*nodes, *in_order)}
        self._links = tuple(links)
        self._fabric = Forest(in_order)
        for first, second in self._links:
            self.neighbours[first].add(second)
            self.neighbours[second].add(first)
            if first in self.switches and second in self.switches:
                self._fabric.join(first, second)
        self._attached = {
            name: {self._fabric.root(other) for other in others if other in self.switches}
            for name, others in self.neighbours.items()
        }

    def joined(self, first: str, second: str) -> bool:
        """True if two nodes share a link, or a path joins them through switches only."""
        return second in self.neighbours[first] or not self._attached[first].isdisjoint(self._attached[second])

    def islands(self) -> Iterator[list[str]]:
        """Yield the connected parts of the network, in the order in which their first members were stated."""
        forest = Forest(self.neighbours)
        for first, second in self._links:
            forest.join(first, second)
        parts: dict[str, list[str]] = {}
        for name in self.neighbours:
            parts.setdefault(forest.root(name), []).append(name)
        yield from parts.values()
