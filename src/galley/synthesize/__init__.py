"""Making data by running programs: single edits, repairs, unit tests, oracles, a stream that resumes. Source: ours."""
