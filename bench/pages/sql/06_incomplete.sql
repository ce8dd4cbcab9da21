-- Which rows of the leaderboard rest on fewer cells than planned?
SELECT label, metric, ok, failed, missing, expected FROM leaderboard
WHERE experiment = 'core' AND failed + missing > 0 ORDER BY ok / expected, label, metric
