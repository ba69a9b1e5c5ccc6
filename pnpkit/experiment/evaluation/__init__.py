"""How close the answers of a run are, item by item and epoch by epoch."""
