"""Run many experiments: launchers, search, ledger, progress table."""
