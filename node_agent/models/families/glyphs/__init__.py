"""glyphs: ten digits and ten animal silhouettes on pictures of 32x32 pixels, each corrupted to a degree of its own."""

from node_agent.models.families.glyphs.network import GlyphsNetwork

__all__ = ["GlyphsNetwork"]
