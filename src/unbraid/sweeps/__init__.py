"""Run many experiments: start runs on devices, search hyper-parameters, record the runs and show their progress."""
