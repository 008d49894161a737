"""Faults injected into a running graph, and what it answers: `test/faults`, `./vla bench faults`, docs/faults.md."""
