"""Turn samples into model inputs, and model outputs into scores."""
