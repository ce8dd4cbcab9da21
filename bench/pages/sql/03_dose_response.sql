-- How does adherence depend on alpha?
SELECT CAST(params ->> '$.alpha' AS DOUBLE) AS alpha, avg(attribute_adherence) AS adherence
FROM cell_scores WHERE strategy = 'lerp' GROUP BY alpha ORDER BY alpha
