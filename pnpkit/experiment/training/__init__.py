"""Training runs: what is minimised, the loop, and the folder of a run."""
