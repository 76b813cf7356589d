"""The mathematics of DTO-EE: pure functions on numpy arrays, which know nothing of messages, clocks or sockets.

DTO-EE (Xie et al. 2024, arXiv 2412.08284) lets every node tune its offloading probabilities and its confidence
threshold together. Only the idea and the names of its parts are taken from the paper; the equations are derived from
Gallager's minimum-delay routing (1977) and its extension to service chains (Zhang and Yeh 2023, arXiv 2310.06141):

- `queueing`: what load costs a server or a link, with derivatives and an exterior penalty for overload;
- `receiver` (DTO-R): the marginal cost that a receiver reports to its offloaders;
- `offloader` (DTO-O): how an offloader shifts its probabilities in answer; `one_row`: the same as a node runs it;
- `thresholds`: how a server weighs delay against accuracy when it moves its confidence threshold.

The same on a whole network at once, for simulation, bounds and tests:

- `staged`: flows, exact exits, cost and prices of all nodes;
- `solver`: the best rows for given thresholds, to a certified gap.

The tests play rounds of a whole network (`tests/node_agent/dtoee/sweeps.py`), and hold the nodes' moves of thresholds
against a search for the best ones (`tests/node_agent/dtoee/joint.py`).
"""
