"""How close the answers of a run are, item by item and epoch by epoch; and the studies of matching and of gradients."""
