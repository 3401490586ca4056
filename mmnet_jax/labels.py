"""What labels and masks have in common; free of jax, so that the processes that prepare images start fast."""

IGNORE = 255
"""Label of pixels to ignore, in labels and in masks of class indices."""
