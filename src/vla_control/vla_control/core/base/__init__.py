"""The mobile base: chunk steps to a smooth, bounded velocity that ends by itself."""
