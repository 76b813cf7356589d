"""A run in virtual time, part by part: the agenda, the links, and the driver of a node's state machine."""
