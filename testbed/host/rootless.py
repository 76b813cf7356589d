"""Runs by ordinary users: the command continues inside namespaces of its own, where it has the rights that a run needs.

A new user namespace maps the user to root inside. With it come a network namespace (where interfaces and queueing
disciplines may be made), a mount namespace and a process namespace. Files that the command writes belong to the user.
Such a run has no CPU quotas (`compute: quota`): control groups belong to the whole machine. It has real-time priority
only if the user's own limit, RLIMIT_RTPRIO, allows it. Root without the right to make namespaces, as in most
containers, is treated like an ordinary user.

Decision 043: the command continues as a fork of itself, in a process namespace of its own
(docs/decisions/043-rootless-runs-in-a-forked-process-namespace.md).

Imports nothing heavy: a user namespace can only be entered before NumPy has started its threads.
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
# The last two options, because Docker otherwise refuses to mount /sys for a namespace and to write to /proc/sys.
CONTAINER = (
    "docker run --privileged, or --cap-add SYS_ADMIN --cap-add NET_ADMIN --security-opt apparmor=unconfined "
    "--security-opt systempaths=unconfined; other container programs: the same rights"
)

# Each switch that forbids user namespaces to ordinary users: its path, its forbidding value, the command to lift it.
SWITCHES = (
    ("user/max_user_namespaces", "0", "sudo sysctl user.max_user_namespaces=10000"),
    ("kernel/unprivileged_userns_clone", "0", "sudo sysctl kernel.unprivileged_userns_clone=1"),
    ("kernel/apparmor_restrict_unprivileged_userns", "1",
     "sudo sysctl kernel.apparmor_restrict_unprivileged_userns=0"),
)  # fmt: skip


def ensure_root() -> None:
    """Return as root with the right to make namespaces, if necessary in a child inside namespaces of its own.

    If a child is needed, the calling process never returns: it passes signals on, and ends with the child's exit code.
    Call this before any thread is started.

    Raises:
        EnvironmentLacking: this process lacks the right, and no user namespace is allowed; the hint says why.
    """
    refused = enter_if_possible()
    if refused is not None:
        raise refused


def enter_if_possible() -> EnvironmentLacking | None:
    """Do the same as `ensure_root`, but return the error, in the calling process, instead of raising it."""
    uid = os.geteuid()
    if uid == 0 and has_rights():
        return None
    refused = refusal_for(uid)  # tried in a child first: a process that is half-way in cannot go back
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
    """True if this process may make namespaces and interfaces; root of a container often may not.

    Check before building: Mininet waits forever for a node whose shell cannot make its namespace.
    """
    needed = 1 << _CAP_NET_ADMIN | 1 << _CAP_SYS_ADMIN
    for line in Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines():
        if line.startswith("CapEff:"):
            return int(line.split()[1], 16) & needed == needed
    return False


def is_rootless() -> bool:
    """True if this process is root of a user namespace only, not of the machine."""
    if os.geteuid() != 0:
        return False
    # A map of a single user: root without rights, mapped to itself.
    return outer_uid() != 0 or [count for _, _, count in _uid_map()] == [1]


def outer_uid() -> int:
    """The id of this process's user outside its user namespace."""
    uid = os.geteuid()
    for inside, outside, count in _uid_map():
        if inside <= uid < inside + count:
            return outside + uid - inside
    return uid


def _uid_map() -> list[tuple[int, int, int]]:
    """The map of this process's user namespace: first id inside, first id outside, count; empty without namespaces."""
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
    """Enter such namespaces as this user, in a child that ends at once; return the refusal, None if all is allowed.

    Root may ask for any user, others only for themselves.
    """

    def trial() -> str:
        try:
            _try_as(uid)
        except EnvironmentLacking as error:
            return f"{error}\n{error.hint}"
        except Exception as error:  # report every error: nobody sees a child's traceback
            return f"a user namespace cannot be tried: {error}\n"
        return ""

    message, _, hint = answer_of_child(trial).partition("\n")
    return EnvironmentLacking(message, hint=hint) if message else None


def _try_as(uid: int) -> None:
    if os.geteuid() != uid:
        # If Python lies in root's home, later imports fail.
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
    """Continue in a child inside new namespaces; the caller's process attends to it and ends with it."""
    uid = os.geteuid()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()  # else both processes would write the buffered text
    _unshare_and_map()
    reader, writer = os.pipe()
    child = os.fork()
    if child:
        os.close(reader)
        _attend(child)
    os.close(writer)
    linux.die_with_parent()
    if select.select([reader], [], [], 0)[0]:
        os._exit(1)  # the parent died before `die_with_parent`, which then has no effect
    os.close(reader)
    # The parent forwards the terminal's Ctrl-C. In a group of its own, this process gets that signal only once.
    os.setpgid(0, 0)
    for number in (signal.SIGTERM, signal.SIGHUP):
        # The first process of a process namespace ignores signals that it does not handle.
        if signal.getsignal(number) == signal.SIG_DFL:
            signal.signal(number, lambda met, _frame: os._exit(128 + met))
    try:
        _mount_proc()
    except OSError:
        raise _proc_refused(uid) from None


def _attend(child: int) -> None:
    """Run in the parent: pass signals on until the child ends, then end with its exit code. Never returns."""
    for number in _FORWARDED:
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, lambda met, _frame: os.kill(child, met))
    while True:
        try:
            _, status = os.waitpid(child, 0)
            break
        except KeyboardInterrupt:  # a signal before the handlers above
            os.kill(child, signal.SIGINT)
    code = os.waitstatus_to_exitcode(status)
    os._exit(code if code >= 0 else 128 - code)


def _unshare_and_map() -> None:
    uid, gid = os.geteuid(), os.getegid()
    try:
        linux.unshare(linux.CLONE_NEWUSER | linux.CLONE_NEWNS | linux.CLONE_NEWPID | linux.CLONE_NEWNET)
        Path("/proc/self/setgroups").write_text("deny", encoding="utf-8")  # the kernel requires this before gid_map
        Path("/proc/self/uid_map").write_text(f"0 {uid} 1", encoding="utf-8")
        Path("/proc/self/gid_map").write_text(f"0 {gid} 1", encoding="utf-8")
        # Later mounts are visible in this namespace only.
        linux.mount("none", "/", None, linux.MS_REC | linux.MS_PRIVATE)
    except OSError as error:
        raise _refused(uid, error.errno or 0) from error


def _mount_proc() -> None:
    """Mount a /proc of this process namespace; OSError if that is refused."""
    linux.mount("proc", "/proc", "proc", linux.MS_NOSUID | linux.MS_NODEV | linux.MS_NOEXEC)


def _refused(uid: int, number: int) -> EnvironmentLacking:
    """The error of a kernel that refuses user namespaces; the hint names the switch that forbids them."""
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
    """The kernel's settings that forbid user namespaces to ordinary users here: (name, command to lift it)."""
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
