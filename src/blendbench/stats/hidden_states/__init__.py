"""Statistics of hidden states: pure functions on arrays of rows."""
