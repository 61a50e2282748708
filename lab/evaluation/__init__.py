"""Benchmarks of quality: each measures the production code on data of which the truth is known."""
