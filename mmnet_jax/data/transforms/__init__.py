"""Image transforms on the device, for training and evaluation, and their geometry."""
