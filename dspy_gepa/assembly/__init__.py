"""What a run needs, made from its configuration, for `GEPA` and `optimize_anything`."""
