"""What runs in a run's actors: one plain class for each role, without Ray in it."""
