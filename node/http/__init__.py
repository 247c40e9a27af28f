"""The HTTP API: one file per resource, one place for authentication, one for errors."""
