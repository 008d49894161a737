"""Action spaces, one per module: what a contract's steps mean, as absolute rows and back.

Chunks are made absolute once, when they arrive, against the reference at their capture stamp. Everything after that
(strategies, inverse kinematics, blending) only knows absolute rows, so a chunk of deltas that arrives late leads along
the same path as one that arrives on time: steps whose time is over are skipped, not left out of the sum.
"""
