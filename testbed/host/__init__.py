"""Things that runs borrow from this machine and give back: processes, control groups, namespaces, processors."""
