"""The ways to delay frames in the middle of each link: a module for each, and the registry `BACKENDS` (`choice`).

A new one is a module with a `DelayBackend` here, and a place in `BACKENDS`: the command line, `doctor`, manifests and
the tests on the real kernel read it there.
"""
