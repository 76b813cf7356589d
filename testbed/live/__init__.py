"""The live run: agents in namespaces, telemetry out of band, timed events, evidence for the verdict."""
