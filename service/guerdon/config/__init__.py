"""Settings: one file, read once."""
