"""Does text augmentation help on real photos? A CLIP from scratch on Flickr8k, by arms that differ in their texts only.

``python -m benchmarks.experiment.run FLICKR8K --cifar10 cifar10/test.tar --out experiment-out`` does all of it and goes
on after an interruption; ``python -m benchmarks.experiment.report`` makes table and plot of what is there.
"""
