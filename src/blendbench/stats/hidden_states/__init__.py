"""Statistics of hidden states: pure functions on arrays of rows.

There is no model, no file and no torch.
"""
