"""A scenario while it is compiled: its nodes and links so far, names and groups, and the problems found."""

from node_agent.suggest import advice, listed
from testbed.scenario import Device, Link, ModelChoice, PolicyChoice, Server
from testbed.topology.followers import Follower, TraceFiles
from testbed.topology.form.draft import Draft
from testbed.topology.form.yaml_places import Path, TopologyProblem


class UnfinishedScenario:
    """The state that the parts of the compiler share: each fills in its part, and reports problems by `complain`."""

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
        """Start with nothing compiled.

        Args:
            draft: the checked form; it must have a document.
            source: the file's name in messages.
            files: the trace files of the topology.
            seed: draws every range.
            duration_s: length of the run [s].
            policy: the policy in use.
            recorded: True for the topology of a recorded run, which may state what only earlier versions allowed.
        """
        assert draft.document is not None
        self.document = draft.document
        self.source = source
        self.seed = seed
        self.duration_s = duration_s
        # The default slot is cut to the run's length; a stated slot that is longer is an error (`_check_times`).
        stated = "slot" in self.document.model_fields_set
        self.slot_s = self.document.slot if stated else min(self.document.slot, duration_s)
        self.model = ModelChoice(self.document.model.place, tuple(self.document.model.cut or ()))
        self.policy = policy
        self.recorded = recorded
        self.problems: list[TopologyProblem] = []
        self.kinds: dict[str, str] = {}  # node or switch -> device, server or switch
        self.groups: dict[str, tuple[str, ...]] = {}  # name as the file states it -> its members
        self.devices: list[Device] = []
        self.servers: dict[str, Server] = {}
        self.own_processors: dict[str, str] = {}  # device that runs stage 1 -> the server that is its processor
        self.links: dict[tuple[str, str], Link] = {}  # sorted ends -> link
        # Sorted ends -> index of the entry, and one follower for both directions or one for each.
        self.followers: dict[tuple[str, str], tuple[int, tuple[Follower, ...]]] = {}
        self.offload_to: dict[str, tuple[str, ...]] = {}
        self.files = files
        self.place = draft.place
        self._damaged = set(draft.damaged)
        self._doubtful = set(draft.doubtful)
        self._names_lost = draft.names_lost
        self.homes: dict[str, Path] = {}  # node -> the entry that makes it

    @property
    def time_scale(self) -> float:
        """Seconds of real time for one of emulated time."""
        return self.document.time_scale

    def device_of(self, name: str) -> str | None:
        """Return the device of an own processor; None for any other node or switch."""
        return self.servers[name].device if name in self.servers else None

    def complain(self, path: Path, message: str, hint: str = "", *, of_key: bool = False) -> None:
        """Add a problem at `path` (with `of_key`, at its key), and mark its top-level section as damaged."""
        line, column = self.place.find(path, of_key=of_key)
        self.problems.append(TopologyProblem(self.source, line, column, message, hint))
        if path:
            self._damaged.add(str(path[0]))

    def members(self, name: str, path: Path, *, what: str = "node", of_key: bool = False) -> tuple[str, ...]:
        """Return the members of the group or node `name`; report an unknown name at `path` and return none."""
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
        """True if no problem has been found in these sections, so that checks may rely on them."""
        return not self._damaged.intersection(sections)
