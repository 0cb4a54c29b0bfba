"""Which text to draw, the loss over several texts, exact trimming, and the hook into open_clip's trainer."""
