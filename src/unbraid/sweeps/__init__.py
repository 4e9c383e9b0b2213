"""Run many experiments: start runs on devices, search hyperparameters, record the runs and display the progress."""
