"""The smallest network in which servers forward tasks: a device and a server in each of two stages."""

LINE = """
name: line
model: {name: glyphs, cut: [2, 5]}
policy: {name: computing-first, parameters: {threshold: 0.8}}
slot: 1 s
duration: 10 s
devices: {cam: {rate: 10 /s}}
servers:
  near: {stage: 1, capacity: 0.72 GFLOP/s}
  far: {stage: 2, capacity: 1.4 GFLOP/s}
links:
  - {from: cam, to: near, rate: 1 Gbit/s, delay: 1 ms}
  - {from: near, to: far, rate: 1 Gbit/s, delay: 1 ms}
"""
