"""How a simulation fails: in one line that names the node; what led to it is kept in the run directory."""

from pathlib import Path

from node_agent.errors import TestbedError, in_words, log_entry


class SimulationFailed(TestbedError):
    """The simulated nodes cannot reach each other, or one of them cannot go on."""


class NodeFailed(SimulationFailed):
    """A simulated node cannot go on, since its own code has raised `error`: its policy's, for example."""

    def __init__(self, node: str, error: BaseException) -> None:
        super().__init__(f"node {node}: {in_words(error)}", hint=getattr(error, "hint", ""))
        self._node = node
        self._error = error

    def log(self, path: Path, told: "NodeFailed") -> None:
        """Write to `path` what an agent would: traceback and story, as `told` has them; the hint names the file."""
        path.write_text(log_entry(told._node, told._error), encoding="utf-8")
        self.hint = f"{self.hint}{self.hint and '; '}the last events of the node are in {path}"
