"""Figures and overlays."""
