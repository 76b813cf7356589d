"""The whole examination: basic needs first, then the things that rest on them."""

from node_agent.errors import EnvironmentLacking
from testbed.doctor import kernel, machine, software
from testbed.doctor.finding import Finding
from testbed.doctor.trial import NAME as TRIAL
from testbed.doctor.trial import trial_network
from testbed.host.rootless import is_rootless
from testbed.network.delays.choice import BACKENDS

NOT_TRIED = (
    "namespaces and veth", "Linux bridge (switches)", "htb (link rates)", "pfifo (queues)",
    "u32 filter (control first)", *(backend.examined_as for backend in BACKENDS.values()),
)  # fmt: skip


def examine(refused: EnvironmentLacking | None = None) -> list[Finding]:
    """Try everything that a run uses, in about two seconds.

    Args:
        refused: the reason why this process may not make namespaces (see `rootless.enter_if_possible`), None if it may.

    Returns:
        A finding for each thing, in the order in which they are printed.
    """
    torch = software.TorchTrial()
    findings = [software.python(), kernel.root(refused)]
    if refused is None and not is_rootless():
        findings.append(kernel.user_namespaces())
    programs = software.programs()
    findings += [*programs, software.mininet(), software.packages(), software.language_models()]
    if refused is not None:
        findings += [Finding(name, "missing", "cannot be tried: see root") for name in NOT_TRIED]
    elif any(program.state == "missing" for program in programs):
        findings += [Finding(name, "missing", "not tried: a program above is missing") for name in NOT_TRIED]
        findings += kernel.quota()
    else:
        findings += [*kernel.network(), *kernel.quota()]
    findings += [
        *kernel.punctuality(),
        machine.processors(),
        machine.memory(),
        machine.open_files(),
        machine.pressure(),
        machine.clock(),
        machine.ledger(),
        torch.finding(),
    ]
    if any(finding.state == "missing" for finding in findings if finding.name != "torch"):
        return [*findings, Finding(TRIAL, "missing", "not tried: something above is missing")]
    return [*findings, trial_network()]


def require_possible(findings: list[Finding]) -> None:
    """Raise EnvironmentLacking, naming everything that is missing, unless a run is possible."""
    missing = [finding for finding in findings if finding.state == "missing"]
    if missing:
        remedies = dict.fromkeys(finding.remedy for finding in missing if finding.remedy)
        raise EnvironmentLacking(
            f"no run is possible here: missing {', '.join(finding.name for finding in missing)}",
            hint="; ".join(remedies),
        )
