"""Small topologies in which devices run stage 1 themselves, for tests."""

# One device and one server of stage 2. The link is quick, so that a task's time there hardly depends on its framing.
PAIR = """
name: pair
model: {name: glyphs, cut: [2, 5], activation: float16}
policy: {name: fixed-threshold, parameters: {threshold: 0.8}}
slot: 5 s
duration: 20 s
warm_up: 2 s
seed: 4
devices: {cam: {rate: 4 /s, runs: 1, capacity: 0.144 GFLOP/s}}
servers: {hub: {stage: 2, capacity: 0.4 GFLOP/s}}
links: [{from: cam, to: hub, rate: 1 Gbit/s, delay: 20 ms}]
"""

# Two devices that may also send pictures to a server of stage 1, and a third that only does so.
SHARED = """
name: shared
model: {name: glyphs, cut: [2, 3, 5], activation: float16}
policy: dto-ee
slot: 2 s
duration: 16 s
warm_up: 2 s
devices:
  cam: {count: 2, rate: 3 /s, runs: 1, capacity: 0.1 GFLOP/s, memory: 64 MiB}
  plain: {rate: 3 /s}
servers:
  post: {stage: 1, capacity: 0.2 GFLOP/s}
  hub: {stage: 2, count: 2, capacity: 0.1 GFLOP/s}
  core: {stage: 3, capacity: 0.3 GFLOP/s}
switches: [access]
links:
  - {from: [cam, plain], to: access, rate: 20 Mbit/s, delay: 5 ms}
  - {from: access, to: [post, hub], rate: 50 Mbit/s, delay: 1 ms}
  - {from: hub, to: core, rate: 50 Mbit/s, delay: 2 ms}
"""
