"""How chunks that overlap in time become one sequence of steps: one strategy per module, all over one ChunkBuffer.

What happens then is the same for all: inverse kinematics, one spline, one jerk-limited blend from the running motion.
So the motion is C2 over every boundary whatever a strategy decides; strategies decide *where* it leads.
"""
