"""Principal component analysis: the linear autoencoder with the least squared error, in closed form.

Mean and covariance are summed up batch by batch in float64 (Chan, Golub & LeVeque's update), so memory is that of one matrix of
`size` times `size` however long the data is; the components are its eigenvectors.
"""

import torch
from torch import Tensor

from unbraid.nets.autoencoders import Autoencoder, check_code
from unbraid.runs.errors import InputError

LARGEST = 8192  # a covariance of 512 MiB


class PCA(Autoencoder):
    """Projects vectors onto the directions of largest variance.

    Args:
        size: of a vector.
        code: how many components are kept.

    Shape:
        [N, size] -> [N, size].
    """

    takes = "vectors"
    mean: Tensor
    components: Tensor
    variances: Tensor

    def __init__(self, size: int, code: int) -> None:
        super().__init__()
        check_code(code, size)
        if size > LARGEST:
            raise InputError(f"PCA takes vectors of at most {LARGEST} numbers, found {size}")
        self.code_size = code
        self.register_buffer("mean", torch.zeros(size))
        self.register_buffer("components", torch.eye(code, size))
        self.register_buffer("variances", torch.zeros(size))
        self.reset()

    def reset(self) -> None:
        """Forget what was added."""
        size = len(self.mean)
        self.count = 0.0
        self.centre = torch.zeros(size, dtype=torch.float64)
        self.scatter = torch.zeros(size, size, dtype=torch.float64)

    @torch.no_grad()
    def add(self, items: Tensor) -> None:
        """Take a batch into account. Shape: [N, size]."""
        items = items.double()
        self.merge(float(len(items)), items.mean(dim=0), torch.cov(items.T, correction=0) * len(items))

    def merge(self, count: float, centre: Tensor, scatter: Tensor) -> None:
        """The sums of another part of the data: how many, their mean [size], and their scatter about it [size, size]."""
        self.centre, self.scatter = self.centre.to(centre.device), self.scatter.to(centre.device)
        total = self.count + count
        apart = centre - self.centre
        self.scatter += scatter.view_as(self.scatter) + torch.outer(apart, apart) * (self.count * count / total)
        self.centre = self.centre + apart * (count / total)
        self.count = total

    @torch.no_grad()
    def solve(self) -> None:
        """Make the components those of what was added; a component's largest entry is positive, so that signs are fixed."""
        variances, vectors = torch.linalg.eigh(self.scatter / self.count)
        components = vectors.T.flip(0)[: self.code_size]
        signs = components.gather(1, components.abs().argmax(dim=1, keepdim=True)).sign()
        self.components.copy_(components * signs)
        self.variances.copy_(variances.flip(0).clamp(min=0))
        self.mean.copy_(self.centre)

    def encode(self, items: Tensor) -> Tensor:
        return (items - self.mean) @ self.components.T

    def decode(self, code: Tensor) -> Tensor:
        return code @ self.components + self.mean
