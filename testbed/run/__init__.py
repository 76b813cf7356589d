"""Parts that live and simulated runs share: plans, node configurations, bookkeeping, observers, signals."""
