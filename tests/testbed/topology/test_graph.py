"""Joined nodes and islands: in small networks by hand, in random ones against a plain search."""

from hypothesis import given
from hypothesis import strategies as st

from testbed.topology.graph import Network


def test_switches_join_nodes_and_nodes_do_not() -> None:
    network = Network(["a", "b", "c", "d"], ["s", "t"], [("a", "s"), ("s", "t"), ("t", "b"), ("b", "c"), ("c", "d")])
    assert network.joined("a", "b")  # through s and t
    assert network.joined("b", "c")  # directly
    assert not network.joined("a", "c")  # b does not forward frames
    assert not network.joined("a", "d")
    assert list(network.islands()) == [["a", "b", "c", "d", "s", "t"]]


def test_switches_may_form_a_ring() -> None:
    links = [("r", "s"), ("s", "t"), ("t", "r"), ("a", "r"), ("a", "s"), ("b", "t")]
    network = Network(["a", "b"], ["r", "s", "t"], links)
    assert network.joined("a", "b")
    assert list(network.islands()) == [["a", "b", "r", "s", "t"]]


def test_islands_are_listed_in_the_order_of_the_file() -> None:
    network = Network(["a", "b", "c", "d"], [], [("b", "d"), ("a", "c")])
    assert list(network.islands()) == [["a", "c"], ["b", "d"]]


_NODES = ["n0", "n1", "n2", "n3", "n4"]
_SWITCHES = ["s0", "s1", "s2", "s3"]
_PAIRS = [(a, b) for index, a in enumerate(_NODES + _SWITCHES) for b in (_NODES + _SWITCHES)[index + 1 :]]


def _search(start: str, links: list[tuple[str, str]], through: set[str]) -> set[str]:
    """Return all names that can be reached from `start` if only `through` forwards frames."""
    seen, frontier = {start}, [start]
    while frontier:
        here = frontier.pop()
        for link in links:
            if here in link:
                other = link[1] if here == link[0] else link[0]
                if other not in seen:
                    seen.add(other)
                    if other in through:
                        frontier.append(other)
    return seen


@given(st.lists(st.sampled_from(_PAIRS), unique=True, max_size=14))
def test_agrees_with_plain_search(links: list[tuple[str, str]]) -> None:
    network = Network(_NODES, _SWITCHES, links)
    for first in _NODES:
        reached = _search(first, links, set(_SWITCHES))
        for second in _NODES:
            if first != second:
                assert network.joined(first, second) == (second in reached)
    everything = set(_NODES + _SWITCHES)
    expected = {frozenset(_search(name, links, everything)) for name in everything}
    assert {frozenset(island) for island in network.islands()} == expected
