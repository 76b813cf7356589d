"""TCP as Linux implements it, for simulated connections over links that lose frames."""
