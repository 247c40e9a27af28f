"""One command per measured figure."""
