"""The task table and the log that orders its changes; see DESIGN.md in this folder."""
