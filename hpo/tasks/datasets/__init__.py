"""Built-in tasks on real data, one file each, registered with `@tasks(...)`.

An entry loads what it needs inside `make`, so that listing tasks stays quick; nothing here downloads.
"""
