"""Pre-training and fine-tuning loops with resumable state."""
