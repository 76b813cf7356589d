"""The same cells as `live`, in virtual time."""

from testbed.simulation.links import Links
from testbed.virtual_time import Calendar
from tests.bench.transport.cells import HEADER_BYTES, Cell
from tests.testbed.network.scenarios import scenario

ACKNOWLEDGEMENT_BYTES = 62
FRAMING_BYTES = 11


def modelled(cell: Cell, seconds: float, seed: int) -> list[float]:
    """One-way times [s] of the messages of one cell, in the order in which they were sent."""
    agenda = Calendar()
    links = Links(scenario(["hub", "r"], {("hub", "r"): cell.shape}, seed=seed), agenda, [])
    times: list[float] = []
    back = links.connect("r", "hub", lambda _: None)

    def arrived(message: tuple[int, float]) -> None:
        number, sent_s = message
        times[number] = agenda.now_s - sent_s
        links.send(back, ACKNOWLEDGEMENT_BYTES, None)

    there = links.connect("hub", "r", arrived)

    def send(_: object) -> None:
        times.append(float("inf"))
        links.send(there, HEADER_BYTES + cell.tensor_bytes + FRAMING_BYTES, (len(times) - 1, agenda.now_s))

    for at_s in cell.sending_times_s(seconds, f"{seed}"):
        agenda.at(at_s, send, None)
    while not agenda.run(seconds + 60, 100000):
        pass
    return times
