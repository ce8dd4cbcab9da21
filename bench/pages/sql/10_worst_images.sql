-- Where are the images with the strongest grid?
SELECT label, item, seed, grid_energy, 'images/' || image_sha256[1:2] || '/' || image_sha256 || '.png' AS path
FROM cell_scores WHERE experiment = 'core' AND NOT control ORDER BY grid_energy DESC NULLS LAST LIMIT 10
