"""Steps of a blend: align, normalize, mask, combine, schedule."""
