"""Everything that holds raftsman to its word."""
