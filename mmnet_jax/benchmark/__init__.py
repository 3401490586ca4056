"""Speed and memory of inference and training on this machine, beside the PyTorch peer."""
