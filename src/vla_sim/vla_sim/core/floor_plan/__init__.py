"""Generated flats in the plane: walls, furniture, people, and a robot with lidar and camera that drives among them."""
