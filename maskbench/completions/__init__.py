"""Completions: the face that a mask hides, guessed from what is seen. docs/completions.md explains them."""
