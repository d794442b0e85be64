"""Judges: generative models that are asked for a verdict, and what is made of it."""
