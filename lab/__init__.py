"""What no production run needs: the simulated platform, importers of public data, benchmarks of quality."""
