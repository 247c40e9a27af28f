"""The process: loops, HTTP, wiring; see DESIGN.md in this folder."""
