"""Serving: one backbone in memory, many adapters on it, and many visitors' requests in one batch."""
