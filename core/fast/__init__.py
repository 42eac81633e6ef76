"""The fast path: the arithmetic of `models` on frozen weights, the same numbers in less time and memory."""
