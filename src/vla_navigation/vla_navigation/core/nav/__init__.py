"""Driving to a pose: costmap, global planner, MPPI, safety layer, recoveries and the navigator that joins them."""
