"""The embedded zoo."""
