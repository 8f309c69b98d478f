"""What stands behind a text that kernels read; nothing is compiled here, so whoever fetches imports no kernel."""

SENTINEL = b"\0"  # no word holds it, and it ends every text and number
