"""How a flow policy draws a chunk that continues the running one: one way per module, all over one velocity field."""
