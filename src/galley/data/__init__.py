"""Sources of outside bytes and the corpora read from them."""
