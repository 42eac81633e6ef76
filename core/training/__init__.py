"""The trainer: a generator of typed events."""
