"""List the network families of MSST that unbraid can read.

A module `unbraid.interop.msst.<name>` describes a family in the constant `FAMILY`, or several families in `FAMILIES`.
"""

from unbraid.interop.msst import hdemucs, htdemucs, roformer, scnet, tfc_tdf
from unbraid.interop.msst.family import Family

FAMILIES: tuple[Family, ...] = (
    hdemucs.FAMILY, htdemucs.FAMILY, tfc_tdf.FAMILY, *roformer.FAMILIES, *scnet.FAMILIES,
)  # fmt: skip
