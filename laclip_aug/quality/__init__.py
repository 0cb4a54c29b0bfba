"""Whether a text is well-formed, and true to its caption."""
