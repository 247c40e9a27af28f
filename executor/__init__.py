"""Carrying out assignments: Kubernetes Jobs and their output; see DESIGN.md in this folder."""
