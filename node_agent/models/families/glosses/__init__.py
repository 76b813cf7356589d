"""glosses: 20 categories of nouns from their definitions in WordNet, with the first layers of MiniLM."""

from node_agent.models.families.glosses.classifier import GlossesNetwork

__all__ = ["GlossesNetwork"]
