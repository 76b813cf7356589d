"""Mininet's own objects, made so that building them starts no command: the plan sets everything up in batches.

Mininet runs a shell command for each address, interface and queueing discipline, one after the other: about 50 ms a
shaped link. These subclasses keep its Node, Link, Intf and LinuxBridge objects (so that `net["n0"].cmd(...)`,
`popen`, `IP()` and `linksBetween` work as ever) and leave the commands to `commands.run_batches`.

This module imports mininet: import it where a network is really built.
"""

import os
import select
import shutil
import subprocess
import termios
from collections.abc import Mapping, Sequence
from typing import Any

from mininet.link import Intf, Link
from mininet.log import setLogLevel
from mininet.net import Mininet
from mininet.node import Host
from mininet.nodelib import LinuxBridge

from node_agent.errors import EnvironmentLacking
from testbed.host.rootless import CONTAINER

PROMPT = chr(127)  # of Mininet's shells
LOCAL_MODES = 3  # in what tcgetattr tells
CONTAINER_HINT = f"in a container: {CONTAINER}"
GLANCE_MS = 50  # a shell that says nothing for so long is looked at


def _need_mnexec() -> None:
    if shutil.which("mnexec") is None:
        raise EnvironmentLacking("mnexec is missing", hint="apt-get install mininet")


def need_namespaces() -> None:
    """Raise EnvironmentLacking unless a node's shell can be started.

    Mininet waits without end for one that mnexec does not start.
    """
    _need_mnexec()
    done = subprocess.run(["mnexec", "-n", "mnexec", "-v"], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        trouble = done.stderr.strip() or f"exit status {done.returncode}"
        raise EnvironmentLacking(f"mnexec cannot make a namespace: {trouble}", hint=CONTAINER_HINT)


class PlannedIntf(Intf):  # type: ignore[misc]  # mininet has no types
    """An interface whose address the plan sets."""

    def config(self, **_params: object) -> dict[str, object]:
        """Nothing: the plan's batch does it."""
        return {}

    def setIP(self, ipstr: str, prefixLen: int | None = None) -> str:
        """Remember the address; the plan's batch sets it."""
        self.ip, self.prefixLen = ipstr, prefixLen if prefixLen is not None else 32
        return ""


class _Shell:
    """Mixed into a Mininet node: its shell is started without waiting for it, so that all start together; see `settle`.

    Decision: Mininet's own start, kept from waiting: 66 nodes take 0.14 s instead of 0.49 s, most of which was waiting
    for each shell's prompt, `stty`, and an mnexec that closes every descriptor there could be.
    """

    _starting = False

    def startShell(self, mnopts: str | None = None) -> None:
        """Start the shell without waiting for its prompt."""
        del mnopts
        self._starting = True
        super().startShell("-d")  # type: ignore[misc]
        self._starting = False

    def _popen(self, cmd: list[str], **params: object) -> object:
        if self._starting:
            params["close_fds"] = True  # at once, where mnexec would close one after the other
        return super()._popen(cmd, **params)  # type: ignore[misc]

    def read(self, size: int = 1024) -> str:
        return PROMPT if self._starting else super().read(size)  # type: ignore[misc]

    def cmd(self, *args: object, **kwargs: object) -> str:
        return "" if self._starting else super().cmd(*args, **kwargs)  # type: ignore[misc]


class PlannedHost(_Shell, Host):  # type: ignore[misc]
    """A host that the plan configures."""

    isSetup = False

    @classmethod
    def setup(cls) -> None:
        """Only mnexec is needed (Mininet would also want ifconfig, and leaves the interpreter without it)."""
        _need_mnexec()

    def config(self, **_params: object) -> dict[str, object]:
        """Nothing: the plan's batch does it."""
        return {}


class PlannedBridge(_Shell, LinuxBridge):  # type: ignore[misc]
    """A Linux bridge in a namespace of its own; it disappears with that namespace."""

    isSetup = False

    @classmethod
    def setup(cls) -> None:
        """The bridge is made by ip; brctl is not needed."""
        _need_mnexec()

    def start(self, _controllers: object) -> None:
        """Nothing: the plan's batch has made the bridge."""

    def stop(self, deleteIntfs: bool = True) -> None:  # Mininet's signature
        """Nothing: `terminate` ends the namespace and all in it."""


class ReadyLink(Link):  # type: ignore[misc]
    """A veth pair that the plan makes."""

    @classmethod
    def makeIntfPair(cls, *_args: object, **_params: object) -> None:
        """Nothing: the plan's batch makes all pairs at once."""

    def stop(self) -> None:
        """Nothing: the pair disappears with its namespaces."""


def settle(nodes: Sequence[Any], names: Mapping[str, str] | None = None) -> None:
    """Wait until the shells of all these nodes are ready: before, not even their namespaces need be there.

    Raises EnvironmentLacking for one that did not start; `names` are those that users know, by Mininet's.
    """
    known_as = names or {}
    for node in nodes:
        _await_prompt(node, known_as.get(node.name, node.name))
        modes = termios.tcgetattr(node.slave)
        modes[LOCAL_MODES] &= ~termios.ECHO
        termios.tcsetattr(node.slave, termios.TCSANOW, modes)
        node.sendCmd("unset HISTFILE; set +m")
    for node in nodes:
        node.waitOutput()


def _await_prompt(node: Host, name: str) -> None:
    """A terminal never tells that nobody writes to it any more, as this process itself holds its other end."""
    terminal, said = select.poll(), ""
    terminal.register(node.stdout, select.POLLIN)
    while not said.endswith(PROMPT):
        if terminal.poll(GLANCE_MS):
            said += node.read(1024)
        elif node.shell.poll() is not None:
            trouble = said.strip() or f"exit status {node.shell.returncode}"
            raise EnvironmentLacking(f"the shell of {name} did not start: {trouble}", hint=CONTAINER_HINT)


def empty_network() -> Mininet:
    """A Mininet without controller, whose nodes and links are the planned kinds; `settle` is for its nodes."""
    if os.geteuid() != 0:
        raise EnvironmentLacking("building a network needs root", hint="run as root, for example with sudo")
    setLogLevel("error")  # its warnings speak of what the plan does in its place
    # Mininet would raise system-wide limits (buffer sizes, file-max) and leave them so. The one that matters here, file
    # descriptors, belongs to this process, and the caller raises it.
    Mininet.inited = True
    return Mininet(
        topo=None,
        build=False,
        controller=None,
        host=PlannedHost,
        switch=PlannedBridge,
        link=ReadyLink,
        intf=PlannedIntf,
    )
