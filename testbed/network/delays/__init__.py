"""The ways to delay frames in the middle of each link: a module for each, and the registry `BACKENDS` (`choice`).

A new backend is a module here with a `DelayBackend`, and an entry in `BACKENDS`. The command line, `doctor`, manifests
and the tests on the real kernel read that registry.
"""
