"""Atomic files and folders, and locks."""
