"""Guerdon serves reward models."""
