"""Helpers that several tests use. Test modules import from here, never from each other."""
