"""Real nodes under load while they are killed, stopped, cut off and replaced; every answer is held against the log."""
