"""Pointsmith: fine-tune pre-trained 3D point-cloud transformers with tiny adapters, in the browser."""

__version__ = "0.1.0"
