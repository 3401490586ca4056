"""Configurations by table row; ``python -m mmnet_jax.train --config=configs/NAME.py``."""
