"""Recipes, the demo backbone, styles and scripts that ship with the package."""
