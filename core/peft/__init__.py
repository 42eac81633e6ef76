"""Methods: what is trained, as tables of deltas on the backbone's operations."""
