"""UnitCoder: functions from a corpus, unit tests, execution, debug rounds, refinement. Source: arXiv:2502.11460."""
