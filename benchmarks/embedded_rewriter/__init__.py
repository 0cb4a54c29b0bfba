"""Training recipe of the rewriter that ships in the package; ``python -m benchmarks.embedded_rewriter.run --help``."""
