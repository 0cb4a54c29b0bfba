"""One build on many machines."""
