"""Export a trained separator for use without unbraid: an ONNX file, a .pt2 file, or a folder for the openunmix package."""
