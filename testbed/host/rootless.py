"""Runs by ordinary users: the command goes on inside namespaces of its own, in which it may do all that a run needs.

A new user namespace maps the user to root inside; with it come a network namespace (interfaces and queueing
disciplines may be made there), a mount namespace and a process namespace. What the command writes belongs to the user.
What such a run cannot have, because it belongs to the whole machine: CPU quotas (`compute: quota`), and real-time
priority unless the user's own limit on it, RLIMIT_RTPRIO, allows it. Root without the right to make namespaces, as in
most containers, is treated like an ordinary user.

Decision: a process namespace as well, because its end is the end of every process in it, and of their network
namespaces: nothing outlives the command, however it ends. Rejected: naming every process in a ledger, as runs of root
do, which cannot name one that has only just been started.
Decision: the process goes on as a fork of itself; rejected: starting the command anew through `unshare`, which neither
hands SIGTERM on nor can tell which of its steps the kernel refused.

Imports nothing heavy, because a user namespace can only be entered before NumPy has started its threads.
"""

import errno
import os
import select
import signal
import sys
from pathlib import Path

from node_agent.errors import EnvironmentLacking
from node_agent.process import linux
from node_agent.process.children import answer_of_child, fork

_FORWARDED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_CAP_NET_ADMIN, _CAP_SYS_ADMIN = 12, 21
SYS = Path("/proc/sys")

NOT_ROOT = "not root"
WITHOUT_RIGHTS = "root without the right to make namespaces"
# The last two, because Docker otherwise refuses to mount /sys for a namespace and to set what is in /proc/sys.
CONTAINER = (
    "docker run --privileged, or --cap-add SYS_ADMIN --cap-add NET_ADMIN --security-opt apparmor=unconfined "
    "--security-opt systempaths=unconfined; with other programs that start containers, the same rights"
)

# Each switch that forbids user namespaces to ordinary users: where it is, its forbidding value, and what lifts it.
SWITCHES = (
    ("user/max_user_namespaces", "0", "sudo sysctl user.max_user_namespaces=10000"),
    ("kernel/unprivileged_userns_clone", "0", "sudo sysctl kernel.unprivileged_userns_clone=1"),
    ("kernel/apparmor_restrict_unprivileged_userns", "1",
     "sudo sysctl kernel.apparmor_restrict_unprivileged_userns=0"),
)  # fmt: skip


def ensure_root() -> None:
    """Return as root that may make namespaces: because this process is, or in a child inside namespaces of its own.

    In the second case the calling process stays behind, hands signals on and ends with the child's exit code; it never
    returns. Call before anything has started a thread.

    Raises:
        EnvironmentLacking: neither, and no user namespace is allowed; the hint says why.
    """
    refused = enter_if_possible()
    if refused is not None:
        raise refused


def enter_if_possible() -> EnvironmentLacking | None:
    """As `ensure_root`, but returns the error, in the calling process, instead of raising it."""
    uid = os.geteuid()
    if uid == 0 and has_rights():
        return None
    refused = refusal_for(uid)  # tried first: half-way in there is no way back
    if refused is None:
        _enter()
        who = WITHOUT_RIGHTS if uid == 0 else f"user {uid} is {NOT_ROOT}"
        print(
            f"note: {who}: running in a user namespace (`dtoee-testbed doctor` says what it lacks)",
            file=sys.stderr,
            flush=True,
        )
    return refused


def has_rights() -> bool:
    """May this process make namespaces and interfaces? Root of a container often may not.

    To be asked before: a Mininet node whose shell cannot make its namespace is waited for without end.
    """
    needed = 1 << _CAP_NET_ADMIN | 1 << _CAP_SYS_ADMIN
    for line in Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines():
        if line.startswith("CapEff:"):
            return int(line.split()[1], 16) & needed == needed
    return False


def is_rootless() -> bool:
    """Is this process root of a user namespace only, not of the machine?"""
    if os.geteuid() != 0:
        return False
    # A map of a single user: root without rights, which has entered such a namespace as itself.
    return outer_uid() != 0 or [count for _, _, count in _uid_map()] == [1]


def outer_uid() -> int:
    """This process's user as the world outside its user namespace knows it."""
    uid = os.geteuid()
    for inside, outside, count in _uid_map():
        if inside <= uid < inside + count:
            return outside + uid - inside
    return uid


def _uid_map() -> list[tuple[int, int, int]]:
    """Of this process's user namespace: first user inside, first user outside, how many; none without namespaces."""
    try:
        lines = Path("/proc/self/uid_map").read_text(encoding="ascii").splitlines()
    except OSError:
        return []
    return [(int(inside), int(outside), int(count)) for inside, outside, count in map(str.split, lines)]


def refuse_quota() -> None:
    """Raise EnvironmentLacking for `compute: quota` in a user namespace: control groups belong to the whole machine."""
    if is_rootless():
        raise EnvironmentLacking(
            "compute: quota needs root: control groups cannot be made from a user namespace",
            hint="use compute: paced in the topology, or run the same command as root, for example with sudo",
        )


def refusal_for(uid: int) -> EnvironmentLacking | None:
    """Really enter such namespaces as this user, in a child that ends at once; what was refused, None if nothing.

    Root may ask for any user, others only for themselves.
    """

    def trial() -> str:
        try:
            _try_as(uid)
        except EnvironmentLacking as error:
            return f"{error}\n{error.hint}"
        except Exception as error:  # a child must say what it met: nobody sees its traceback
            return f"a user namespace cannot be tried: {error}\n"
        return ""

    message, _, hint = answer_of_child(trial).partition("\n")
    return EnvironmentLacking(message, hint=hint) if message else None


def _try_as(uid: int) -> None:
    if os.geteuid() != uid:
        # From here on nothing can be imported, if Python lies in root's home.
        os.setgroups([])
        os.setresgid(uid, uid, uid)
        os.setresuid(uid, uid, uid)
        linux.reopen_proc()
    _unshare_and_map()

    def mounting() -> int:
        try:
            _mount_proc()
        except OSError:
            return 1
        return 0

    first = fork(mounting, parent=0)  # the process namespace takes its first child
    if os.waitstatus_to_exitcode(os.waitpid(first, 0)[1]) != 0:
        raise _proc_refused(uid)


def _enter() -> None:
    """Go on in a child inside new namespaces; the caller's process attends to it and ends with it."""
    uid = os.geteuid()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()  # else both processes would write what waits
    _unshare_and_map()
    reader, writer = os.pipe()
    child = os.fork()
    if child:
        os.close(reader)
        _attend(child)
    os.close(writer)
    linux.die_with_parent()
    if select.select([reader], [], [], 0)[0]:
        os._exit(1)  # the parent died before the line above, which therefore came too late
    os.close(reader)
    # The terminal's Ctrl-C reaches the parent, which hands it on: in its own group this process hears it only once.
    os.setpgid(0, 0)
    for number in (signal.SIGTERM, signal.SIGHUP):
        # The kernel spares the first process of a namespace what would end any other.
        if signal.getsignal(number) == signal.SIG_DFL:
            signal.signal(number, lambda met, _frame: os._exit(128 + met))
    try:
        _mount_proc()
    except OSError:
        raise _proc_refused(uid) from None


def _attend(child: int) -> None:
    """In the parent: hand signals on until the child ends, then end as it did. Never returns."""
    for number in _FORWARDED:
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, lambda met, _frame: os.kill(child, met))
    while True:
        try:
            _, status = os.waitpid(child, 0)
            break
        except KeyboardInterrupt:  # one that came before the lines above
            os.kill(child, signal.SIGINT)
    code = os.waitstatus_to_exitcode(status)
    os._exit(code if code >= 0 else 128 - code)


def _unshare_and_map() -> None:
    uid, gid = os.geteuid(), os.getegid()
    try:
        linux.unshare(linux.CLONE_NEWUSER | linux.CLONE_NEWNS | linux.CLONE_NEWPID | linux.CLONE_NEWNET)
        Path("/proc/self/setgroups").write_text("deny", encoding="utf-8")  # the kernel wants it before gid_map
        Path("/proc/self/uid_map").write_text(f"0 {uid} 1", encoding="utf-8")
        Path("/proc/self/gid_map").write_text(f"0 {gid} 1", encoding="utf-8")
        # What is mounted from here on stays in here.
        linux.mount("none", "/", None, linux.MS_REC | linux.MS_PRIVATE)
    except OSError as error:
        raise _refused(uid, error.errno or 0) from error


def _mount_proc() -> None:
    """Show the processes of this process namespace; OSError if that is refused."""
    linux.mount("proc", "/proc", "proc", linux.MS_NOSUID | linux.MS_NODEV | linux.MS_NOEXEC)


def _refused(uid: int, number: int) -> EnvironmentLacking:
    """The error for a kernel that refuses user namespaces, naming the switch that forbids them."""
    if number == errno.EINVAL and len(os.listdir("/proc/self/task")) > 1:
        raise AssertionError("a user namespace must be entered before the first thread")
    remedies = [remedy for _, remedy in forbidding_switches()]
    hint = CONTAINER if uid == 0 else "run the same command as root, for example with sudo"
    if remedies:
        hint += f"; or allow user namespaces: {', '.join(remedies)}"
    elif uid != 0:
        hint += "; inside a container, start it with the right to make namespaces (for Docker: --privileged)"
    who = WITHOUT_RIGHTS if uid == 0 else NOT_ROOT
    return EnvironmentLacking(f"{who}, and this machine refuses a user namespace ({os.strerror(number)})", hint=hint)


def forbidding_switches(root: Path = SYS) -> list[tuple[str, str]]:
    """The kernel's settings that forbid user namespaces to ordinary users here: (name, what lifts it)."""
    found = []
    for name, forbidding, remedy in SWITCHES:
        try:
            value = (root / name).read_text(encoding="utf-8").strip()
        except OSError:
            continue  # this kernel has no such switch
        if value == forbidding:
            found.append((name.replace("/", "."), remedy))
    return found


def _proc_refused(uid: int) -> EnvironmentLacking:
    outside = "run the same command as root, for example with sudo, or outside the container"
    return EnvironmentLacking(
        f"{WITHOUT_RIGHTS if uid == 0 else NOT_ROOT}, and /proc cannot be mounted in a user namespace "
        "(a container that hides parts of /proc?)",
        hint=CONTAINER if uid == 0 else outside,
    )
