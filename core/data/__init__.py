"""Data sets: from files (or the generator) to fixed-size clouds in memory."""
