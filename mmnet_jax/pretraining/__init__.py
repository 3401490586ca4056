"""Pretraining of a backbone as a classifier, in reading order: ``loop``, ``step``, ``classifier``, and the images."""
