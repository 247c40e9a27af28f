"""Batch work on several Kubernetes clusters, agreed upon through a Raft log."""
