"""Make the shipped miniature: training, evaluation and its page.

This is not part of the wheel.
"""
