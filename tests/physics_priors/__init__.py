"""Tests of the laws, and the small structures they share."""
