"""Small scenarios for network tests."""

from collections.abc import Mapping, Sequence

from testbed.scenario import Device, Link, LinkShape, ModelChoice, PolicyChoice, Scenario, Server
from testbed.trace.processes.poisson import Poisson

FAST = LinkShape(100.0, 0.002)


def scenario(
    nodes: Sequence[str],
    links: Mapping[tuple[str, str], LinkShape | tuple[LinkShape, LinkShape]],
    *,
    switches: Sequence[str] = (),
    time_scale: float = 1.0,
    seed: int = 7,
) -> Scenario:
    """A scenario whose last node is a server, all others devices; two shapes are those of a link's two directions."""
    *devices, server = nodes
    return Scenario(
        name="test",
        seed=seed,
        duration_s=1.0,
        warm_up_s=0.0,
        slot_s=1.0,
        time_scale=time_scale,
        compute="paced",
        arrivals=Poisson(),
        model=ModelChoice("none", (1,)),
        policy=PolicyChoice("none"),
        devices=tuple(Device(name, 1.0) for name in devices),
        servers=(Server(server, 1, 1e9),),
        switches=tuple(switches),
        links=tuple(
            Link(ends, shape) if isinstance(shape, LinkShape) else Link(ends, shape[0], down_shape=shape[1])
            for ends, shape in links.items()
        ),
        offload_to={},
        events=(),
    )
