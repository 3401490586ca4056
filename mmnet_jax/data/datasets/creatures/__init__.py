"""A generated dataset: animals and vehicles put together from shared parts, drawn on cluttered grounds."""
