"""The paper's pipeline: data set, metrics, training, evaluation, tables, each stage kept on disk."""
