"""What live and simulated runs share: the plan, the nodes' configurations, and the bookkeeping."""
