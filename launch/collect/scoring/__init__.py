"""Scores of a published directory: how near its texts, ratings and answers are to the true ones."""
