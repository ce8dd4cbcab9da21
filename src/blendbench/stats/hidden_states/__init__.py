"""Statistics of hidden states: pure functions on arrays of rows, with no model, no file and no torch."""
