"""Decisions: functions from a table and an instant to data; see DESIGN.md in this folder."""
