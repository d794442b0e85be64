"""The demonstration ensemble that is served without a configuration."""
