-- Which metrics move together, over all changes that strategies make?
SELECT a.metric, b.metric AS other, corr(a.difference, b.difference) AS correlation
FROM paired_effects a JOIN paired_effects b USING (experiment, label, item, seed)
WHERE experiment = 'core' AND a.metric < b.metric
GROUP BY ALL ORDER BY abs(correlation) DESC NULLS LAST LIMIT 10
