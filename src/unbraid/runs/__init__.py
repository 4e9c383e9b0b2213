"""Read and write run folders. All packages also use this package to build objects from configs and to report errors."""
