"""Behaviours on top of the servo, without I/O."""
