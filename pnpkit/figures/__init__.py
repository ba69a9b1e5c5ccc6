"""Drawing for the book."""
