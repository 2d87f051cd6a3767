"""Files: written whole or not at all, locked, digested, cached, larger than memory."""
