"""Time and memory of inference and training on this machine, compared with a PyTorch implementation."""
