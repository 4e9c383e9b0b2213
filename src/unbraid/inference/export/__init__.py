"""Export a trained separator for other software: ONNX files, programs of torch.export, and folders of the openunmix package."""
