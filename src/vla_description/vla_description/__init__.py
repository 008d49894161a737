"""Robot models (MJCF, meshes) with their licences."""
