"""Read and write run folders, build objects from configs, and define the errors that all packages of unbraid raise."""
