"""Files that are written whole or not at all, TOML, and locks against two processes that write the same files."""
