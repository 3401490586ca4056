"""Figures, overlays, pages of images, and parts of HTML pages."""
