"""Sources of encoded episodes: images, or the one cache of a frozen backbone's features."""
