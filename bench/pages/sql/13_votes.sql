-- Which metrics agree with what people saw (after `blendbench gallery --votes`)?
SELECT question, metric, votes, decided, agreement, rank_correlation FROM vote_agreement
WHERE experiment = 'core' ORDER BY question, abs(rank_correlation) DESC NULLS LAST
