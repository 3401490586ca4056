"""A generated dataset: animals and vehicles assembled from shared parts, on cluttered backgrounds."""
