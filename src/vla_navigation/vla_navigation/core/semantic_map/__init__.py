"""Objects that the cameras have seen: where they are, what they are, how sure that is."""
