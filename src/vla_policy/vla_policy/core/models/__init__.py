"""Models: blocks put together."""
