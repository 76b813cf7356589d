"""The receivers of every offloader: those that the topology states, or all servers that the network joins to it."""

from collections.abc import Mapping

from node_agent.suggest import listed
from testbed.topology.form.yaml_places import Path
from testbed.topology.graph import Network
from testbed.topology.unfinished import UnfinishedScenario

JOIN_HINT = "directly or through switches (servers do not pass frames on)"


def find_receivers(compiler: UnfinishedScenario) -> None:
    """Fill in `offload_to` of `compiler`; report a network that is not connected, and misfits of `offload`.

    A device that runs stage 1 offloads to its own processor and to servers of stage 1; its own processor, to servers of
    stage 2. Both reach what the device's links reach.
    """
    places = [name for name, kind in compiler.kinds.items() if kind != "switch" and not compiler.device_of(name)]
    network = Network(places, compiler.document.switches, (link.ends for link in compiler.links.values()))
    _check_network(compiler, network)
    if not compiler.intact("devices", "servers", "switches", "links"):
        return  # further checks would only repeat that the network is not connected
    stated = _stated_receivers(compiler, network)
    for name in compiler.kinds:
        stage = _receiving_stage(compiler, name)
        if stage is None:
            continue
        if name in stated:
            compiler.offload_to[name] = stated[name]
            continue
        place, own = compiler.device_of(name) or name, compiler.own_processors.get(name)
        receivers = tuple(other for other in _servers(compiler, stage) if network.joined(place, other))
        if not receivers and own is None and compiler.intact("offload"):
            compiler.complain(
                compiler.homes[name],
                f"{name!r} reaches no server of stage {stage}",
                f"link {'them' if place == name else repr(place) + ' to one'} {JOIN_HINT}",
                of_key=True,
            )
        compiler.offload_to[name] = receivers if own is None else (own, *receivers)


def _servers(compiler: UnfinishedScenario, stage: int) -> list[str]:
    """Return the servers of a stage that several nodes may share: all but the devices' own processors."""
    return [server.name for server in compiler.servers.values() if server.stage == stage and server.device is None]


def _receiving_stage(compiler: UnfinishedScenario, name: str) -> int | None:
    """Return the stage (from 1) to which a node offloads; None for a switch and for a server of the last stage."""
    if compiler.kinds[name] == "device":
        return 1
    if name not in compiler.servers or compiler.servers[name].stage == len(compiler.model.cut):
        return None
    return compiler.servers[name].stage + 1


def _check_network(compiler: UnfinishedScenario, network: Network) -> None:
    for name, others in network.neighbours.items():
        if not others:
            compiler.complain(compiler.homes[name], f"{name!r} has no link", "add an entry under links", of_key=True)
    islands = [island for island in network.islands() if len(island) > 1 or network.neighbours[island[0]]]
    for island in islands[1:]:
        compiler.complain(
            compiler.homes[island[0]],
            f"no path joins {island[0]!r} and {islands[0][0]!r}, so results cannot return",
            "the network must be connected: add a link",
            of_key=True,
        )


def _stated_receivers(compiler: UnfinishedScenario, network: Network) -> Mapping[str, tuple[str, ...]]:
    stated: dict[str, tuple[int, tuple[str, ...]]] = {}
    for key, names in compiler.document.offload.items():
        receivers: dict[str, None] = {}
        for position, name in enumerate(names):
            path: Path = ("offload", key, position)
            for receiver in compiler.members(name, path):
                if receiver in receivers:
                    compiler.complain(path, f"{receiver!r} is named twice in this list", "name it once")
                    break
                receivers[receiver] = None
        told: set[int] = set()
        for name in compiler.members(key, ("offload", key), of_key=True):
            single = int(key == name)
            if name in stated and stated[name][0] >= single:
                continue  # this node's own entry, stated earlier, wins over its group's
            if not _may_have_a_list(compiler, name, key):
                break
            _check_receivers(compiler, network, name, key, tuple(receivers), told)
            for sender, part in _divided(compiler, name, tuple(receivers)).items():
                stated[sender] = (single, part)
    return {name: receivers for name, (_, receivers) in stated.items()}


def _divided(compiler: UnfinishedScenario, name: str, receivers: tuple[str, ...]) -> Mapping[str, tuple[str, ...]]:
    """Return the receivers by sender: a device's list is divided between the device and its own processor."""
    own = compiler.own_processors.get(name)
    if own is None:
        return {name: receivers}
    onward = tuple(other for other in receivers if _stage(compiler, other) == 2)
    parts = {name: (own, *(other for other in receivers if other not in onward))}
    return parts if _receiving_stage(compiler, own) is None else {**parts, own: onward}


def _stage(compiler: UnfinishedScenario, name: str) -> int | None:
    return compiler.servers[name].stage if name in compiler.servers else None


def _may_have_a_list(compiler: UnfinishedScenario, name: str, key: str) -> bool:
    """Report a node that cannot have a list of receivers."""
    device = compiler.device_of(name)
    if device is not None:
        message, hint = f"{name!r} is the own processor of {device!r}", f"state its receivers in the list of {device!r}"
    elif _receiving_stage(compiler, name) is None:
        what = "a switch" if compiler.kinds[name] == "switch" else "a server of the last stage"
        message, hint = f"{name!r} is {what} and offloads to nobody", "remove this entry"
    else:
        return True
    compiler.complain(("offload", key), message, hint, of_key=True)
    return False


def _check_receivers(
    compiler: UnfinishedScenario, network: Network, name: str, key: str, receivers: tuple[str, ...], told: set[int]
) -> None:
    """Check one offloader's stated receivers.

    `told` collects the list positions already reported, so that a group's entry is reported once, not per member.
    """
    stage, own = _receiving_stage(compiler, name), compiler.own_processors.get(name)
    assert stage is not None
    onward = None if own is None else _receiving_stage(compiler, own)
    stages = [stage] if onward is None else [stage, onward]
    stated = compiler.document.offload[key]
    for receiver in receivers:
        position = next(i for i, said in enumerate(stated) if receiver in compiler.groups.get(said, (said,)))
        if position in told:
            continue
        if (device := compiler.device_of(receiver)) is not None:
            message = f"{receiver!r} is the own processor of {device!r}"
            hint = "leave it out: a device offloads to its own processor in any case, and to no other device's"
        elif _stage(compiler, receiver) not in stages:
            shown = " or ".join(map(str, stages))
            message = f"{receiver!r} is not a server of stage {shown}, to which {name!r} offloads"
            hint = "; ".join(f"stage {each}: {listed(_servers(compiler, each))}" for each in stages)
        elif not network.joined(name, receiver):
            message = f"the network does not join {name!r} and {receiver!r}"
            hint = f"link them {JOIN_HINT}"
        else:
            continue
        told.add(position)
        compiler.complain(("offload", key, position), message, hint)
    if onward is not None and not told and not any(_stage(compiler, receiver) == onward for receiver in receivers):
        told.add(-1)
        message = f"this list names no server of stage {onward}, to which {own!r} hands on"
        compiler.complain(
            ("offload", key), message, f"stage {onward}: {listed(_servers(compiler, onward))}", of_key=True
        )
