"""How good a trained model is: zero-shot, few-shot, linear probe, retrieval, composition, by protocols written in YAML.

Data (images, captions, classes) becomes features once, kept on disk by model and data; a protocol makes figures of
them. ``laclip-aug eval`` is the command.
"""
