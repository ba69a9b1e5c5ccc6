"""Table 1: rows over seeds, claims with their verdicts, and both as text."""
