"""The log in one deterministic process: real nodes, simulated machines, and everything that can happen to them."""
