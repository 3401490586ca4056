"""Commands: flags, messages, progress and signals."""
