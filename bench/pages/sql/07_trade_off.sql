-- What is won in style for what is lost in adherence?
SELECT style.label, style.difference_to_baseline AS style_won, adherence.difference_to_baseline AS adherence_won
FROM leaderboard style JOIN leaderboard adherence USING (experiment, label)
WHERE experiment = 'core' AND style.metric = 'reference_style' AND adherence.metric = 'attribute_adherence'
    AND NOT style.control
ORDER BY style_won DESC NULLS LAST
