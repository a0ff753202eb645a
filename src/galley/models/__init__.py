"""Loading, conversion to Hugging Face directories, and from-scratch models."""
