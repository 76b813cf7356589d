"""The parts of each delay: transfer, waiting, service, retries, return, and the lateness of this machine."""
