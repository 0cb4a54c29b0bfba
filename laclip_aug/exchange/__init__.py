"""Captions and rewrites in and out of every file format."""
