"""From row numbers to batches: open shards, memory maps, addresses, decoders, and the store that gathers."""
