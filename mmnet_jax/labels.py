"""The ignore value of labels and masks; imports no jax, so that preparation's worker processes start fast."""

IGNORE = 255
"""Value of ignored pixels in labels and in masks of class indices."""
