"""Mininet's own objects, made so that building them starts no command: the plan sets everything up in batches.

Mininet runs a shell command for each address, interface and queueing discipline, one after the other: about 50 ms a
shaped link. These subclasses keep its Node, Link, Intf and LinuxBridge objects (so that `net["n0"].cmd(...)`,
`popen`, `IP()` and `linksBetween` work as ever) and leave the commands to `commands.run_batches`.

This module imports mininet: import it where a network is really built.
"""

import os
import shutil
import subprocess

from mininet.link import Intf, Link
from mininet.log import setLogLevel
from mininet.net import Mininet
from mininet.node import Host
from mininet.nodelib import LinuxBridge

from node_agent.errors import EnvironmentLacking
from testbed.rootless import CONTAINER


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
        raise EnvironmentLacking(f"mnexec cannot make a namespace: {trouble}", hint=f"in a container: {CONTAINER}")


class PlannedIntf(Intf):  # type: ignore[misc]  # mininet has no types
    """An interface whose address the plan sets."""

    def config(self, **_params: object) -> dict[str, object]:
        """Nothing: the plan's batch does it."""
        return {}

    def setIP(self, ipstr: str, prefixLen: int | None = None) -> str:
        """Remember the address; the plan's batch sets it."""
        self.ip, self.prefixLen = ipstr, prefixLen if prefixLen is not None else 32
        return ""


class PlannedHost(Host):  # type: ignore[misc]
    """A host that the plan configures."""

    isSetup = False

    @classmethod
    def setup(cls) -> None:
        """Only mnexec is needed (Mininet would also want ifconfig, and leaves the interpreter without it)."""
        _need_mnexec()

    def config(self, **_params: object) -> dict[str, object]:
        """Nothing: the plan's batch does it."""
        return {}


class PlannedBridge(LinuxBridge):  # type: ignore[misc]
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


class PlannedLink(Link):  # type: ignore[misc]
    """A veth pair that the plan makes."""

    @classmethod
    def makeIntfPair(cls, *_args: object, **_params: object) -> None:
        """Nothing: the plan's batch makes all pairs at once."""

    def stop(self) -> None:
        """Nothing: the pair disappears with its namespaces."""


def empty_network() -> Mininet:
    """A Mininet without controller, whose nodes and links are the planned kinds."""
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
        link=PlannedLink,
        intf=PlannedIntf,
    )
