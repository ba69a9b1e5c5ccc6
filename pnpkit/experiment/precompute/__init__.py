"""What is computed once a data set: metrics, the network's inputs, tangents, and atlases."""
