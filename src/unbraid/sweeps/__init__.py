"""Run many experiments: launchers, hyper-parameter search, ledger and progress table."""
