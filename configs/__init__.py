"""Runs that ship with the package: each opens with the command that runs it."""
