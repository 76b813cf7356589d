"""smollm: a language model of 135 million parameters that answers one token; its weights come from a package."""

from node_agent.models.families.smollm.small_llama import SmolLM

__all__ = ["SmolLM"]
