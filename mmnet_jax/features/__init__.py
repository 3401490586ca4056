"""Sources of encoded episodes: images, or stored features of a frozen backbone."""
