"""The centralised bound: the best plan for a scenario, and how far any plan can get."""
