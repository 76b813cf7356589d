"""A scenario while it is compiled: its nodes and links so far, who is called what, and what is wrong with the file."""

from node_agent.suggest import advice, listed
from testbed.scenario import Device, Link, PolicyChoice, Server
from testbed.topology.followers import Follower, TraceFiles
from testbed.topology.form.draft import Draft
from testbed.topology.form.yaml_places import Path, TopologyProblem


class UnfinishedScenario:
    """What the parts of the compiler fill in one after the other, and whom they complain to."""

    def __init__(
        self,
        draft: Draft,
        source: str,
        files: TraceFiles,
        *,
        seed: int,
        duration_s: float,
        policy: PolicyChoice,
        recorded: bool = False,
    ) -> None:
        """`recorded`: of a run that has been, perhaps by an earlier version that allowed more."""
        assert draft.document is not None
        self.document = draft.document
        self.source = source
        self.seed = seed
        self.duration_s = duration_s
        # One that is not stated is never longer than the run; one that is may not be: see `_check_times`.
        stated = "slot" in self.document.model_fields_set
        self.slot_s = self.document.slot if stated else min(self.document.slot, duration_s)
        self.policy = policy
        self.recorded = recorded
        self.problems: list[TopologyProblem] = []
        self.kinds: dict[str, str] = {}  # node or switch -> device, server or switch
        self.groups: dict[str, tuple[str, ...]] = {}  # name as the file states it -> its members
        self.devices: list[Device] = []
        self.servers: dict[str, Server] = {}
        self.links: dict[tuple[str, str], Link] = {}  # sorted ends -> link
        # Sorted ends -> entry, and what both directions follow, or what each of them does.
        self.followers: dict[tuple[str, str], tuple[int, tuple[Follower, ...]]] = {}
        self.offload_to: dict[str, tuple[str, ...]] = {}
        self.files = files
        self.place = draft.place
        self._damaged = set(draft.damaged)
        self._doubtful = set(draft.doubtful)
        self._names_lost = draft.names_lost
        self._homes: dict[str, Path] = {}  # node -> the entry that makes it

    @property
    def time_scale(self) -> float:
        """Seconds of real time for one of emulated time."""
        return self.document.time_scale

    def complain(self, path: Path, message: str, hint: str = "", *, of_key: bool = False) -> None:
        """Note a problem at `path`, and that its section cannot be relied on."""
        line, column = self.place.find(path, of_key=of_key)
        self.problems.append(TopologyProblem(self.source, line, column, message, hint))
        if path:
            self._damaged.add(str(path[0]))

    def members(self, name: str, path: Path, *, what: str = "node", of_key: bool = False) -> tuple[str, ...]:
        """The nodes that `name` stands for; none, with a complaint at `path`, if there is no such name."""
        if name in self.groups:
            return self.groups[name]
        if name in self.kinds:
            return (name,)
        doubtful = any(name == group or name.startswith(f"{group}-") for group in self._doubtful)
        if not doubtful and not self._names_lost:
            known = [*self.groups, *(known for known in self.kinds if known not in self.groups)]
            hint = advice(name, known, f"known: {listed(self.groups)}")
            self.complain(path, f"unknown {what} {name!r}", hint, of_key=of_key)
        return ()

    def intact(self, *sections: str) -> bool:
        """Whether nothing is wrong so far in these sections, so that what follows from them can be judged."""
        return not self._damaged.intersection(sections)
