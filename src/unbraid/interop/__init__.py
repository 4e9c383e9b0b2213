"""Read weights that were trained with other software or published by other authors."""
