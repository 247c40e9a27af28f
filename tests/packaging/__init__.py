"""What the wheel holds."""
