"""The leaderboard of a folder: leaderboard.json, leaderboard.csv, index.html over what is published in it."""
