-- Which strategies do nothing, and how often?
SELECT label, count(*) AS cells FROM no_effect_cells WHERE experiment = 'core' GROUP BY label
