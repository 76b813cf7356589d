"""The state of the emulation: a line of figures, and a second line with the reason if it does not hold."""

from cli.watch.lines import Line, crop, width_of
from cli.watch.state import ViewState
from testbed.fidelity.evidence import Evidence
from testbed.fidelity.report import FidelityState
from testbed.network import WatchedPath
from testbed.wording import milliseconds, percent

STYLES = {"held": "green", "strained": "bold yellow", "broken": "bold red"}
REASON_FROM = 20  # height of the terminal, in lines, that leaves room for a reason


def emulation_lines(state: ViewState, width: int, height: int) -> list[Line]:
    """The lines within `width` cells; empty before the first report, and in simulations."""
    told = state.emulation
    if told is None:
        return []
    verdict, reasons = told.report.verdict, told.report.reasons
    line: Line = [("emulation ", ""), (verdict, STYLES[verdict])]
    for name, figure in _figures(told):
        part: Line = [(f"  {name} ", "dim"), (figure, "")]
        if width_of(line) + width_of(part) <= width:
            line += part
    if not reasons or height < REASON_FROM:
        return [line]
    more = f" (and {len(reasons) - 1} more)" if len(reasons) > 1 else ""
    return [line, [*crop([(f"  {reasons[0]}", "yellow")], width - len(more)), (more, "dim")]]


def _figures(told: FidelityState) -> list[tuple[str, str]]:
    """Names and figures, the most important first: those that do not fit on the line are dropped."""
    evidence, host = told.report.evidence, told.host
    found = [
        ("machine", f"{percent(host.cpu_share, '.0f')} busy"),
        ("waits", percent(host.pressure_some_share, ".0f")),
        ("late timers", f"{_share(evidence.late_timers, evidence.deadlines)}, frames {_late_frames(evidence)}"),
    ]
    worst = _worst_path(evidence)
    if worst is not None and worst.excess_p10_s is not None:
        # The quickest tenth of the probes waited for none of the run's own traffic: their delay is this machine's.
        excess = milliseconds(worst.excess_p10_s / evidence.time_scale, "+.1f")
        found += [("worst path", excess), (worst.path[0], f"- {worst.path[-1]}")]
    return found


def _late_frames(evidence: Evidence) -> str:
    network = evidence.network
    return "-" if network is None else _share(network.frames_late, network.frames_relayed)


def _worst_path(evidence: Evidence) -> WatchedPath | None:
    told = [path for path in evidence.watched if path.excess_p10_s is not None]
    return max(told, key=lambda path: abs(path.excess_p10_s or 0.0), default=None)


def _share(part: int, whole: int) -> str:
    return percent(part / whole if whole else None)
