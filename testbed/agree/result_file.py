"""The file agree.json of an agreement.

    schema, kind          1, "dtoee-agreement"
    topology, topology_sha256, policy, duration_s, warm_up_s, slot_s, stages, seeds
                          the settings of the runs; `policy` is a label, `stages` the number of stages of servers
    complete              false after an interrupt or a failed run: only complete repeats are in the file
    repeats               a list: seed; `fidelity` (held, strained, broken, unknown) with `reasons`; `counted`, true if
                          the figures below include it; `live` and `simulated`, each a row as in compare.json, with its
                          run_directory
    figures               by name, each {live, simulated, difference, ratio, basis, units}
    decisions             `every` (all nodes together) and `nodes`, each {node, slots, probabilities, thresholds};
                          null without any complete repeat
    notes                 sentences that a reader of the figures must know

In a figure, `difference` is live - simulated and `ratio` live / simulated, each {mean, low, high}; low and high are the
ends of the 95 % interval, null without one. `basis` is the unit of resampling: "repeats", "slots" (tasks or decisions
in blocks of one slot), "devices", or null; `units` is the number of such units. A figure that does not exist is null.
The names of figures, with times in emulated seconds:

    delay_mean_s, delay_p50_s, delay_p95_s, delay_p99_s, accuracy (0..1), exit_share_H (0..1, stage H), goodput (0..1),
    lost, refused (tasks of a run), offering_s (until the device made the offer that led to the result);
    for each stage H, means over the tasks that took the step:
    stage_H_transfer_s, stage_H_queue_s, stage_H_service_s, stage_H_sending_s, stage_H_return_s;
    gap_first_slots and gap (certified by devices, a share of marginal cost, 0..1; 0 for policies that certify nothing)

In decisions, `probabilities` and `thresholds` are {apart: {estimate, basis, units}, live_moves, simulated_moves}: the
mean absolute difference between live and simulated over slots, and the mean absolute change of each from slot to slot.
"""

from dataclasses import asdict
from typing import Any

from testbed.agree.agreement import Agreement
from testbed.cells.result_directory import Marker
from testbed.record.run_directory import write_json

MARKER = Marker("agree.json", kind="dtoee-agreement", schema=1, what="agreement")


def write_file(agreement: Agreement) -> None:
    """Write or replace agree.json.

    Raises:
        RecordingError: it cannot be written.
    """
    write_json(agreement.directory / MARKER.file, as_json(agreement))


def as_json(agreement: Agreement) -> dict[str, Any]:
    """The content of agree.json, as the module describes it."""
    content = asdict(agreement)
    del content["directory"]
    return {**MARKER.fields, **content}
