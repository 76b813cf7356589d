"""The emulated run: agents in namespaces, telemetry out of band, and what time brings."""
