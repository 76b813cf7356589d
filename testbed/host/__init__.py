"""What this machine lends to runs and gets back: processes, control groups, namespaces, processors."""
