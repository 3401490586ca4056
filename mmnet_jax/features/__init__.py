"""What a frozen backbone makes of each image, computed once and kept on the disk.

With ``data.augment=False`` every image goes through the test transform and always has the same features, so that
training and evaluation may read them (``training.cache_features=True``) and are left with the trained part alone.
A store is found by all that its numbers depend on; delete ``features/`` in the data folder whenever it is in the way.
"""
