"""Synthetic people: faces of nobody, drawn from a statistical model."""
