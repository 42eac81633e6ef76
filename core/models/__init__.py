"""Backbones and heads: what is fine-tuned."""
