"""Results and progress of commands that carry out many runs."""
