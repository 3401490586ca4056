"""Segmentation quality on held-out classes: protocols, pixel counts, metrics, reports."""
