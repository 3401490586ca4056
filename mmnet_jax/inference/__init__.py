"""Segmentation of a user's own images: supports, results and figures."""
