"""Ways to learn: each turns a corpus into a predictor."""
