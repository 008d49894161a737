"""The live console: robot, cameras, paths and numbers in the browser, an instruction box and a stop button."""
