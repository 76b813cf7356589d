"""Topologies of random staged networks, for figures that shall hold beyond the shipped ones."""

import random

CUTS = {2: (2, 5), 3: (2, 3, 5), 4: (2, 3, 4, 5)}  # blocks of glyphs after which the stages end
WORK_FLOP = {2: (14.4e6, 34.5e6), 3: (14.4e6, 8.7e6, 25.8e6), 4: (14.4e6, 8.7e6, 7.3e6, 18.5e6)}
REACH = {2: (1.0, 0.78), 3: (1.0, 0.78, 0.37), 4: (1.0, 0.78, 0.37, 0.25)}  # of tasks, at thresholds of about 0.8
DEVICES, RATE_PER_S = 12, 2.5


def topology(seed: int, stages: int, *, load: float = 0.6, last: float = 1.0) -> str:
    """The text of a topology: 12 devices and 2 to 5 servers a stage, with links between all nodes of adjacent stages.

    Args:
        seed: of the network and of its first workload.
        stages: 2 to 4.
        load: utilisation of each stage at thresholds of about 0.8.
        last: factor on the speeds of the last stage.
    """
    chance = random.Random(seed)
    servers = [[f"s{h}-{k}" for k in range(1, chance.randint(2, 5) + 1)] for h in range(1, stages + 1)]
    devices = {f"d{k}": RATE_PER_S * chance.uniform(0.5, 1.5) for k in range(1, DEVICES + 1)}
    lines = [
        f"name: random-{seed}", f"model: {{name: glyphs, cut: {list(CUTS[stages])}, activation: float16}}",
        "policy: dto-ee", "theta: 3 s", "slot: 3 s", "duration: 90 s", f"seed: {seed}", "devices:",
        *(f"  {name}: {{rate: {rate:.3f} /s}}" for name, rate in devices.items()), "servers:",
    ]  # fmt: skip
    for h, names in enumerate(servers):
        speeds = [chance.choice((1.0, 1.5, 2.0, 3.0)) for _ in names]
        busy_flop_per_s = sum(devices.values()) * REACH[stages][h] * WORK_FLOP[stages][h]
        scale = busy_flop_per_s / load / sum(speeds) / 1e9 * (last if h == stages - 1 else 1.0)
        lines += [f"  {name}: {{stage: {h + 1}, capacity: {scale * speed:.4f} GFLOP/s}}"
                  for name, speed in zip(names, speeds, strict=True)]  # fmt: skip
    lines.append("links:")
    for senders, receivers in zip([list(devices), *servers[:-1]], servers, strict=True):
        lines += [
            f"  - {{from: {sender}, to: {receiver}, rate: {chance.choice((10, 20, 50, 100))} Mbit/s,"
            f" delay: {chance.uniform(2, 40):.1f} ms}}"
            for sender in senders for receiver in receivers
        ]  # fmt: skip
    return "\n".join(lines) + "\n"
