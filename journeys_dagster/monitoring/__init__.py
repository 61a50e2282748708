"""Watching quality from day to day: what is measured, what was to be expected, and whether a day is unusual.

Pure functions on numbers and frames; reading the warehouse and telling people belongs to the assets.
"""
