"""The commands of `quiver`, one file each: a dataclass of options and `run(options)`. Imported when they are called."""
