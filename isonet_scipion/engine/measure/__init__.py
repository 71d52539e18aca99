"""Numbers about results: what was restored, how far to believe it."""
