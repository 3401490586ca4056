"""Training, in reading order: ``stages`` (a whole run), ``head`` (its setup), ``loop``, ``step``, ``state``."""
