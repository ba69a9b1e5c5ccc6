"""What is computed once a data set: metrics and the network's inputs."""
