"""Generators of the starter corpus: molecules, crystals and fields with labels from real physics, reproducible from seeds."""
