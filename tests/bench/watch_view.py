"""The cost of the live view with 65 nodes: `python -m tests.bench.watch_view`. Figures only, nothing is asserted."""

import time

from rich.console import Console
from rich.live import Live

from cli.watch.frame import draw
from cli.watch.screen import REFRESH_EVERY_S
from cli.watch.state import ViewState
from tests.cli.watched import big_scenario, completed, play

FRAMES = 100


def main() -> None:
    """Print the CPU time of a frame, and the share of a core that follows, by size of the terminal."""
    for width, height in ((80, 24), (120, 40), (200, 60)):
        state = ViewState()
        play(state, big_scenario(), 60)
        with open("/dev/null", "w", encoding="utf-8") as sink:
            console = Console(file=sink, width=width, height=height, force_terminal=True)
            with Live(console=console, auto_refresh=False, transient=True) as live:
                began_s = time.process_time()
                for number in range(FRAMES):
                    for task in range(40):  # what 160 tasks a second bring between two frames
                        state.task(completed(1000 + 40 * number + task, 59.9))
                    live.update(draw(state, width, height), refresh=True)
                frame_s = (time.process_time() - began_s) / FRAMES
        print(f"{width}x{height}: {frame_s * 1e3:.2f} ms a frame, {frame_s / REFRESH_EVERY_S:.2%} of a core")


if __name__ == "__main__":
    main()
