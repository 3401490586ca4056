"""Image transforms on the device: training, evaluation, and their geometry."""
