"""The systems of the literature, one file each: configuration, network, losses, and how a chunk is drawn."""
