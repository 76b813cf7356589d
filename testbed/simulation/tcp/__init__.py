"""TCP as Linux has it, for connections over links that lose or jitter frames."""
