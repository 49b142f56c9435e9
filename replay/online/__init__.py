"""The store that grows by fresh episodes: its journal, segments, readers and eviction."""
