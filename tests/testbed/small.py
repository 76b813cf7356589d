"""A small topology of two stages: three servers and two devices. Even a live run of it takes only seconds."""

SMALL = """
name: small
model: {name: glyphs, cut: [3, 5]}
policy: dto-ee
slot: 2 s
duration: 8 s
warm_up: 2 s
devices:
  cam: {count: 2, rate: 5 /s}
servers:
  near-1: {stage: 1, capacity: 0.5 GFLOP/s}
  near-2: {stage: 1, capacity: 0.3 GFLOP/s}
  core: {stage: 2, capacity: 0.6 GFLOP/s}
links:
  - {from: cam, to: near-1, rate: 20 Mbit/s, delay: 10 ms}
  - {from: cam, to: near-2, rate: 20 Mbit/s, delay: 3 ms}
  - {from: [near-1, near-2], to: core, rate: 30 Mbit/s, delay: 5 ms}
"""
