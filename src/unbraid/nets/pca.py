"""Principal component analysis (PCA): the linear autoencoder with the smallest squared error, in closed form.

Mean and covariance are accumulated batch by batch in float64 (update of Chan, Golub & LeVeque). Any amount of
data therefore needs only the memory of one matrix, `size` × `size`. The components are the eigenvectors of the covariance.
"""

import torch
from torch import Tensor

from unbraid.nets.autoencoders import Autoencoder, check_code
from unbraid.runs.errors import InputError

LARGEST = 8192  # values in a vector; the covariance then takes 512 MiB


class PCA(Autoencoder):
    """Reconstruct vectors from their projections onto the directions of largest variance.

    Call `add` for each batch of training data, and then `solve`.

    Args:
        size: number of values in a vector.
        code: number of components, which is the number of values in a code.

    Shape:
        [N, size] -> [N, size].

    Raises:
        InputError: `code` is not in [1, `size`], or `size` is above 8192.
    """

    takes = "vectors"
    mean: Tensor
    components: Tensor
    variances: Tensor

    def __init__(self, size: int, code: int) -> None:
        super().__init__()
        check_code(code, size)
        if size > LARGEST:
            raise InputError("PCA.size", "the vectors are too long", found=size, expected=f"at most {LARGEST} values")
        self.code_size = code
        self.register_buffer("mean", torch.zeros(size))
        self.register_buffer("components", torch.eye(code, size))
        self.register_buffer("variances", torch.zeros(size))
        self.reset()

    def reset(self) -> None:
        """Delete the accumulated statistics of the training data. The components do not change."""
        size = len(self.mean)
        self.count = 0.0
        self.centre = torch.zeros(size, dtype=torch.float64)
        self.scatter = torch.zeros(size, size, dtype=torch.float64)

    @torch.no_grad()
    def add(self, items: Tensor) -> None:
        """Add a batch of vectors to the accumulated statistics of the training data. Shape: [N, size]."""
        items = items.double()
        self.merge(float(len(items)), items.mean(dim=0), torch.cov(items.T, correction=0) * len(items))

    def merge(self, count: float, centre: Tensor, scatter: Tensor) -> None:
        """Add the statistics of another part of the training data, for example of a batch or of another process.

        Args:
            count: number of vectors in this part.
            centre: mean of these vectors.
            scatter: sum of the outer products of the deviations from `centre`.

        Shape:
            centre [size], scatter [size, size].
        """
        self.centre, self.scatter = self.centre.to(centre.device), self.scatter.to(centre.device)
        total = self.count + count
        difference = centre - self.centre
        self.scatter += scatter.view_as(self.scatter) + torch.outer(difference, difference) * (self.count * count / total)
        self.centre = self.centre + difference * (count / total)
        self.count = total

    @torch.no_grad()
    def solve(self) -> None:
        """Compute the components from the accumulated statistics.

        The sign of a component is chosen such that its entry of largest magnitude is positive.
        """
        variances, vectors = torch.linalg.eigh(self.scatter / self.count)
        components = vectors.T.flip(0)[: self.code_size]
        signs = components.gather(1, components.abs().argmax(dim=1, keepdim=True)).sign()
        self.components.copy_(components * signs)
        self.variances.copy_(variances.flip(0).clamp(min=0))
        self.mean.copy_(self.centre)

    def encode(self, items: Tensor) -> Tensor:
        """Compute the codes of vectors. Shape: [N, size] -> [N, code]."""
        return (items - self.mean) @ self.components.T

    def decode(self, code: Tensor) -> Tensor:
        """Reconstruct vectors from their codes. Shape: [N, code] -> [N, size]."""
        return code @ self.components + self.mean
