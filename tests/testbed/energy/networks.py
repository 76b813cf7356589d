"""Small topologies with energy, for tests."""

# One device, one server, one stage: every task costs the same.
ONE = """
name: one
model: {name: glyphs, cut: [5]}
policy: uniform
slot: 5 s
duration: 20 s
warm_up: 2 s
seed: 4
devices: {cam: {rate: 5 /s, power: {idle: 0.5 W}}}
servers: {only: {stage: 1, capacity: 1 GFLOP/s, power: {idle: 3 W, busy: 10 W}}}
links: [{from: cam, to: only, rate: 10 Mbit/s, delay: 5 ms, energy: {up: 2 uJ/byte, down: 300 nJ/byte}}]
"""

# A device with a processor of its own, a switch between it and the hub, and a link between servers.
CHAIN = """
name: chain
model: {name: glyphs, cut: [2, 3, 5], activation: float16}
policy: dto-ee
slot: 2 s
duration: 20 s
warm_up: 2 s
seed: 3
devices:
  cam: {count: 2, rate: 3 /s, runs: 1, capacity: 0.1 GFLOP/s, power: {idle: 0.4 W, busy: 1.2 W}}
servers:
  post: {stage: 1, capacity: 0.2 GFLOP/s, power: raspberry-pi-4}
  hub: {stage: 2, capacity: 0.3 GFLOP/s, power: {idle: 5 W, busy: 9..12 W}}
  core: {stage: 3, capacity: 0.4 GFLOP/s}
switches: [access]
links:
  - {from: cam, to: access, rate: 20 Mbit/s, delay: 5 ms, energy: lte}
  - {from: access, to: [post, hub], rate: 50 Mbit/s, delay: 1 ms, energy: 20 nJ/byte}
  - {from: hub, to: core, rate: 50 Mbit/s, delay: 2 ms, energy: {up: 0.5 W, down: 100 nJ/byte}}
events:
  - {at: 6 s, node: hub, state: down}
  - {at: 9 s, node: hub, state: up}
  - {at: 5 s, link: [hub, core], rate: 5 Mbit/s}
  - {at: 12 s, node: cam-2, state: down}
"""

# A quick server that is hungry, and a slow one that is thrifty.
TWO = """
name: two
model: {name: glyphs, cut: [3, 5], activation: float16}
policy: dto-ee
theta: 2 s
slot: 1.9 s
duration: 40 s
energy_price: 0 s/J
devices:
  cam: {count: 4, rate: 3 /s}
servers:
  quick: {stage: 1, capacity: 0.8 GFLOP/s, power: {idle: 10 W, busy: 60 W}}
  thrifty: {stage: 1, capacity: 0.5 GFLOP/s, power: {idle: 2 W, busy: 6 W}}
  core: {stage: 2, capacity: 0.8 GFLOP/s, power: {idle: 20 W, busy: 60 W}}
links:
  - {from: cam, to: [quick, thrifty], rate: 20 Mbit/s, delay: 5 ms, energy: 500 nJ/byte}
  - {from: [quick, thrifty], to: core, rate: 50 Mbit/s, delay: 5 ms, energy: 50 nJ/byte}
"""
