"""Stages 3 and 4: chunk executor, servo process, safety monitor."""
