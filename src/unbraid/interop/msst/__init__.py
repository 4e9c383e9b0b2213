"""Checkpoints of Music-Source-Separation-Training (MSST): config files, network families and tensor names."""
