"""The gallery: a static folder of an experiment's images for file://.

It also collects blind votes.
"""
