-- On which items does a strategy cost most adherence?
SELECT item, avg(difference) AS loss FROM paired_effects
WHERE metric = 'attribute_adherence' AND label LIKE 'lerp:%' GROUP BY item ORDER BY loss LIMIT 5
