"""Foreign formats read as our messages; each adapter is a pure function of one record, named in settings."""
