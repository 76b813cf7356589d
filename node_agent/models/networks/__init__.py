"""Real networks in torch: their base class, how they are made, and their sub-models, answers and costs."""
