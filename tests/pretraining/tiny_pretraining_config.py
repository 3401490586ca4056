from tests.pretraining.tiny_pretraining import tiny_config as get_config

__all__ = ["get_config"]
