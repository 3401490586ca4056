"""One run's folder: config, backbone, checkpoints, log, provenance."""
