"""Building blocks that presets combine: vision, language, grounding, fusion, heads."""
