"""The flat: generated apartments for a mobile manipulator, its sensors, and ground truth apart from them."""
