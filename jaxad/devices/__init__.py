"""How rows are laid out on devices: batches, all devices of a host, several hosts."""
