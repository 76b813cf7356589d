"""The error of a faulty trace, of a workload or of a link."""

from collections.abc import Sequence

from node_agent.errors import InputError

MAX_PROBLEMS = 20


class TraceError(InputError):
    """A trace, of a workload or of a link, that cannot be used; `problems` lists the faults as `file:line: message`."""

    def __init__(self, problems: Sequence[str], *, hint: str = "") -> None:
        self.problems = tuple(problems)
        shown = list(self.problems[:MAX_PROBLEMS])
        if len(self.problems) > MAX_PROBLEMS:
            shown.append("… and more")
        super().__init__("\n".join(shown), hint=hint)
