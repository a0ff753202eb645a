"""Long texts, and what a model finds in them: needles, NeedleBench, RULER and LongBench, also through compressed caches."""
