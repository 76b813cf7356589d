"""The mathematics of DTO-EE: pure functions on numpy arrays, without messages, clocks or sockets.

In DTO-EE (Xie et al. 2024, arXiv 2412.08284) every node tunes its offloading probabilities and its confidence
threshold together. Only the idea and the names of its parts come from the paper. The equations are derived from
Gallager's minimum-delay routing (1977) and its extension to service chains (Zhang and Yeh 2023, arXiv 2310.06141).
`docs/algorithm.md` explains them and works an example.

- `queueing`: the cost of load at a server or on a link, with derivatives and an exterior penalty for overload;
- `receiver` (DTO-R): the marginal cost that a receiver reports to its offloaders;
- `offloader` (DTO-O): the step of an offloader's probabilities; `one_row`: that step as a node runs it;
- `thresholds`: the choice of a confidence threshold, delay against accuracy.

For a whole network at once, in simulations, bounds and tests:

- `staged`: flows, exact exits, cost and prices of all nodes;
- `solver`: the best rows for given thresholds, to a certified gap.

The tests play rounds of a whole network (`tests/node_agent/dtoee/sweeps.py`). They compare the nodes' moves of
thresholds with a search for the best ones (`tests/node_agent/dtoee/joint.py`).
"""
