"""The analyser f_W, from a sound's scalogram to synthesis parameters."""
