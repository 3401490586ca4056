"""A user's own images: supports, segmentation, result sheets."""
