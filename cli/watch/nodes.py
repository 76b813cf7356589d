"""The table of nodes: a block per stage, with each node's load, queue, rates, threshold and receivers."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from cli.watch.lines import Line, bar, width_of
from cli.watch.state import NodeView, ViewState
from testbed.wording import number, percent

MOST_OF_A_NAME = 16
CELL = 4  # narrowest column of a probability
GAP = "  "
LONG_QUEUE = 10  # tasks at one server from which its queue is coloured
OWN = "(own)"  # heads the column of the devices' own processors: each device has its own; no node can be called so
SHOWN_SHARE = 0.005  # a smaller probability is drawn as a dot


@dataclass(frozen=True, slots=True)
class NodeRow:
    """A line of the table: a node, or several taken together."""

    name: str
    nodes: Sequence[NodeView]

    @property
    def up(self) -> Sequence[NodeView]:
        """The nodes that are not down."""
        return [node for node in self.nodes if node.up]


@dataclass(frozen=True, slots=True)
class Block:
    """The rows of a stage (0: devices), and the servers that receive its tasks.

    All own processors of devices, `own`, stand among the receivers as OWN.
    """

    stage: int
    rows: Sequence[NodeRow]
    receivers: Sequence[str]
    own: Sequence[str] = ()

    @property
    def height(self) -> int:
        """Number of lines, heading included."""
        return 1 + len(self.rows)


def blocks(state: ViewState, height: int) -> list[Block]:
    """All stages, within `height` lines if possible.

    If there is not room for all nodes, devices are grouped, and so are their own processors; then rows are joined,
    those of servers with least load first.
    """
    found = [_block(state, stage, grouped=False) for stage in range(_stages(state) + 1)]
    if _height(found) > height:
        found = [_block(state, stage, grouped=True) for stage in range(_stages(state) + 1)]
    while _height(found) > height:
        largest = max(range(len(found)), key=lambda index: len(found[index].rows))
        if len(found[largest].rows) <= 1:
            break
        if largest and len(found[largest].rows) == len(state.nodes_of_stage(largest)):
            found[largest] = _busiest_first(found[largest])
        found[largest] = _shortened(found[largest])
    return found


def least_height(state: ViewState) -> int:
    """Number of lines that show every server, with devices and their own processors grouped."""
    return _height([_block(state, stage, grouped=True) for stage in range(_stages(state) + 1)])


def full_height(state: ViewState) -> int:
    """Number of lines that show every node."""
    return len(state.nodes) + _stages(state) + 1


def node_table(state: ViewState, width: int, height: int) -> list[Line]:
    """The table within `width` cells, and within `height` lines if possible."""
    shown = blocks(state, height)
    columns = _Columns.fitting(shown, width)
    lines: list[Line] = []
    for block in shown:
        lines.append(columns.heading(block))
        lines += [columns.line(block, row, state) for row in block.rows]
    return lines


@dataclass(frozen=True, slots=True)
class _Columns:
    """Widths of the columns in cells, the same for all blocks so that figures are aligned."""

    name: int
    load: int
    prefix: int  # for the common beginning of the names of a block's receivers
    cell: int
    most_cells: int
    short_names: bool  # of receivers, in the headings

    @classmethod
    def fitting(cls, shown: Sequence[Block], width: int) -> "_Columns":
        name = min(MOST_OF_A_NAME, max(8, *(len(row.name) for block in shown for row in block.rows)))
        longest = max((len(name) for block in shown for name in block.receivers), default=0)
        most = max((len(block.receivers) for block in shown), default=0)
        for load, whole_names in ((20, True), (14, True), (8, True), (8, False), (4, False)):
            cell = max(CELL, longest) + 1
            prefix = 0 if whole_names else max((len(_common(block.receivers)) for block in shown), default=0)
            if not whole_names:
                labels = (label for block in shown for label in _short_names(block.receivers).values())
                cell = max(CELL, max(map(len, labels), default=0) + 1)
            columns = cls(name, load, prefix, cell, most, short_names=not whole_names)
            if columns.width <= width:
                return columns
        fitting_cells = (width - columns.width) // cell + most  # not even the narrowest columns fit
        return cls(name, load, prefix, cell, max(0, fitting_cells), short_names=True)

    @property
    def width(self) -> int:
        """Width of a whole line."""
        arrow = 3 + self.prefix if self.most_cells else 0
        return self.left + arrow + self.most_cells * self.cell

    @property
    def left(self) -> int:
        """Width of the columns before the probabilities."""
        return self.name + 2 + self.load + 6 + 7 + 10 + 7 + 6

    def heading(self, block: Block) -> Line:
        """The heading of a block."""
        if block.stage == 0:
            title, load, queue, rate, leave, confidence = "devices", "", "open", "offers", "", ""
        else:
            title, load, queue, rate, leave, confidence = (
                f"stage {block.stage}",
                "load",
                "queue",
                "arrives",
                "exits",
                "conf",
            )
        line: Line = [
            (f"{title:<{self.name}}", "bold cyan"),
            (f"{GAP}{load:<{self.load + 6}}{queue:>7}{rate:>10}{leave:>7}{confidence:>6}", "dim"),
        ]
        receivers = self._receivers(block)
        if receivers:
            common = _common(block.receivers) if self.prefix else ""
            short = _short_names(block.receivers) if self.short_names else {}
            names = [short.get(name, name) for name in receivers]
            line.append((f" → {common:<{self.prefix}}" + "".join(f"{name:>{self.cell}}" for name in names), "dim"))
        return line

    def line(self, block: Block, row: NodeRow, state: ViewState) -> Line:
        """The figures of a row."""
        name = row.name if len(row.name) <= self.name else row.name[: self.name - 1] + "…"
        if not row.up:
            return [(f"{name:<{self.name}}{GAP}down", "bold red")]
        down = len(row.nodes) - len(row.up)
        line: Line = [(f"{name:<{self.name}}{GAP}", "yellow" if down else "")]
        if block.stage:
            line += self._load(row, down)
        else:
            line.append(((f"{down} down" if down else "").ljust(self.load + 6), "red"))
        queue = sum(node.queue_length for node in row.up)
        rate = sum(node.arrival_rate_per_s for node in row.up)
        long = block.stage > 0 and queue >= LONG_QUEUE * len(row.up)
        line += [(f"{queue:>7}", "yellow" if long else ""), (f"{rate:>8.1f}/s", "")]
        line.append((f"{_exits(row) if block.stage else '':>7}{_threshold(row) if block.stage else '':>6}", ""))
        receivers = self._receivers(block)
        if receivers:
            line += [(" " * (3 + self.prefix), ""), *self._probabilities(block, receivers, row, state)]
        return line

    def _load(self, row: NodeRow, down: int) -> Line:
        share = sum(node.utilisation for node in row.up) / len(row.up)
        style = "green" if share < 0.7 else "yellow" if share < 0.9 else "red"
        return [(bar(share, self.load), style), (f"{percent(share, '.0f'):>6}", "red" if down else "")]

    def _receivers(self, block: Block) -> Sequence[str]:
        """Heads of the columns of receivers; those without a column of their own share the last one."""
        if len(block.receivers) <= self.most_cells:
            return block.receivers
        own = self.most_cells - 1
        return [*block.receivers[:own], f"+{len(block.receivers) - own}"] if own > 0 else []

    def _probabilities(self, block: Block, receivers: Sequence[str], row: NodeRow, state: ViewState) -> Line:
        decided = [state.offload[node.name] for node in row.up if node.name in state.offload]
        line: Line = []
        for receiver in receivers:
            together = [receiver] if receiver in block.receivers else block.receivers[self.most_cells - 1 :]
            names = [name for each in together for name in (block.own if each == OWN else [each])]
            if not any(name in rows for rows in decided for name in names):  # no link, or nothing decided yet
                line.append((" " * self.cell, ""))
                continue
            share = sum(rows.get(name, 0.0) for rows in decided for name in names) / len(decided)
            text = "·" if share < SHOWN_SHARE else number(share, ".0f", 1e2)
            style = "bold green" if share >= 0.5 else "green" if share >= 0.2 else "" if share >= SHOWN_SHARE else "dim"
            line.append((f"{text:>{self.cell}}", style))
        return line


def table_width(lines: Sequence[Line]) -> int:
    """Width of the widest line in cells."""
    return max((width_of(line) for line in lines), default=0)


def _exits(row: NodeRow) -> str:
    served = sum(node.served for node in row.up)
    exits = sum((node.exit_share or 0.0) * node.served for node in row.up)
    return percent(exits / served if served else None, ".0f")


def _threshold(row: NodeRow) -> str:
    known = [node.threshold for node in row.up if node.threshold is not None]
    return number(sum(known) / len(known) if known else None, ".2f")


def _stages(state: ViewState) -> int:
    return state.scenario.stages if state.scenario else 0


def _block(state: ViewState, stage: int, *, grouped: bool) -> Block:
    """The rows of a stage; `grouped` puts the devices of a group together, and their own processors."""
    nodes, processors = state.nodes_of_stage(stage), _own_processors(state)
    receivers = [node.name for node in state.nodes_of_stage(stage + 1)]
    own = [name for name in receivers if name in processors]
    if own:
        receivers = [OWN, *(name for name in receivers if name not in processors)]
    groups: dict[str, list[NodeView]] = {}
    for node in nodes:
        together = grouped and (stage == 0 or node.name in processors)
        groups.setdefault(re.sub(r"-\d+$", "", node.name) if together else node.name, []).append(node)
    rows = [NodeRow(f"{name} ×{len(some)}" if len(some) > 1 else some[0].name, some) for name, some in groups.items()]
    return Block(stage, rows, receivers, own)


def _own_processors(state: ViewState) -> set[str]:
    return {server.name for server in state.scenario.own_processors} if state.scenario else set()


def _busiest_first(block: Block) -> Block:
    """The block with its most important rows first: rows with nodes that are down, then by falling load."""
    # Loads are rounded to tenths, so that rows do not change places all the time.
    return replace(block, rows=sorted(block.rows, key=lambda row: -round(10 * _mean_load(row))))


def _mean_load(row: NodeRow) -> float:
    """Mean load over the window; if a node is down, 2, which exceeds any load."""
    if len(row.up) < len(row.nodes):
        return 2.0
    loads = [sample.utilisation for node in row.nodes for sample in node.samples]
    return sum(loads) / len(loads) if loads else 0.0


def _shortened(block: Block) -> Block:
    """The block with its last two rows joined into one."""
    last = [*block.rows[-2].nodes, *block.rows[-1].nodes]
    return replace(block, rows=[*block.rows[:-2], NodeRow(f"{len(last)} more", last)])


def _height(found: Sequence[Block]) -> int:
    return sum(block.height for block in found)


def _common(names: Sequence[str]) -> str:
    """The common beginning of the names up to a dash (`mid-` for mid-1 and mid-2), or an empty string."""
    heads = {name[: name.rfind("-") + 1] for name in names if name != OWN}
    return heads.pop() if len(heads) == 1 and len(names) > 1 else ""


def _short_names(names: Sequence[str]) -> dict[str, str]:
    """Short forms of the names: without their common beginning, else initials (`ns1` for near-small-1).

    If two initials are the same, the names stay as they are.
    """
    if common := _common(names):
        return {name: name if name == OWN else name[len(common) :] for name in names}
    initials = {name: "".join(part if part.isdigit() else part[:1] for part in name.split("-")) for name in names}
    return initials if len(set(initials.values())) == len(names) else {name: name for name in names}
