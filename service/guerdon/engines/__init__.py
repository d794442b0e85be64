"""What runs a neural network, and what feeds it."""
