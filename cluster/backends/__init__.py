"""Where a run's actors live: in this process, or on Ray."""
