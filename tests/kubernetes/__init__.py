"""Real Kubernetes."""
