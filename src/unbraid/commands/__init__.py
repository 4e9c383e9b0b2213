"""Commands of the scripts, one module for each verb."""
