"""Sources of encoded episodes: images, or the one cache of a frozen backbone's features.

With ``data.augment=False`` every image goes through the test transform and always has the same features, so that
training and evaluation may read them (``training.cache_features=True``) and only compute the trained part.
"""
