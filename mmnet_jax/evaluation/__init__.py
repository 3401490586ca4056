"""Evaluation on held-out classes: protocols, episodes, pixel counts, metrics, comparison and reports."""
