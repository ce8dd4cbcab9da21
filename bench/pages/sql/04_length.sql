-- Does the length of the conditioning explain a score?
SELECT experiment, corr(tokens, grid_energy) AS correlation FROM cell_scores GROUP BY experiment
