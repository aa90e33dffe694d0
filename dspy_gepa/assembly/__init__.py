"""What a run needs, made from its configuration, for both doors."""
