"""Compares Guerdon with other servers of reward models, on this machine and in one run."""
