"""Results of runs: shards, the database made from them, and images."""
