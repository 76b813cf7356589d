"""Errors of simulations. Their message names the node; the node's last events go to the run directory."""

from pathlib import Path

from node_agent.errors import TestbedError, in_words, log_entry


class SimulationFailed(TestbedError):
    """The simulated nodes cannot reach each other, or one of them has failed."""


class NodeFailed(SimulationFailed):
    """A simulated node has failed: its own code, for example its policy, raised `error`."""

    def __init__(self, node: str, error: BaseException) -> None:
        super().__init__(f"node {node}: {in_words(error)}", hint=getattr(error, "hint", ""))
        self._node = node
        self._error = error

    def log(self, path: Path, told: "NodeFailed") -> None:
        """Write a traceback and a story to `path`, as a live agent would, and name the file in the hint.

        They are those of the failure `told`: this one, or the same one in a second run that kept stories.
        """
        path.write_text(log_entry(told._node, told._error), encoding="utf-8")
        self.hint = f"{self.hint}{self.hint and '; '}the last events of the node are in {path}"
