"""Whom to notify of what and when: pure functions on polars. What reads and writes tables belongs to the assets."""
