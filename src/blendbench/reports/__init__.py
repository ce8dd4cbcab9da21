"""Pages made from the database alone: leaderboards, findings, galleries and their data."""
