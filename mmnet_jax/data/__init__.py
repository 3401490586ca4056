"""From a folder of images to batches of episodes: prepare -> Dataset -> EpisodeIndex -> RawEpisodes -> Episode."""
