"""Where an engine lives: this process or a child."""
