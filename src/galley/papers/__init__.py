"""Each paper's own contribution, and nothing that two papers share."""
