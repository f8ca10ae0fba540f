"""The page of one published run: what it did, what it cost and what it wrote, in one HTML file."""
