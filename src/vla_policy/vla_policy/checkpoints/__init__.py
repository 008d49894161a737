"""Published checkpoints in the layout of their authors, as policies."""
