"""What `vla bench` measures: real processes, on the machine at hand."""
