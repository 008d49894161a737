"""Finding what only the camera can see: what it has seen, where that ends, and the next place to look from."""
