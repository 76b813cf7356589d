"""The delay line in user space: one process for all links of a network, for kernels without netem (`process.py`)."""
