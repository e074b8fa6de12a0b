"""Names that settings can have, as enumerations: the choices of flags and of values in TOML files."""

from __future__ import annotations

from enum import StrEnum


class Filter(StrEnum):
    """The 3×3 stencil through which a cell perceives its neighbours."""

    SOBEL = "sobel"
    SCHARR = "scharr"
    GAUSSIAN = "gaussian"
    LAPLACIAN = "laplacian"
    MEAN = "mean"

    @property
    def is_symmetric(self) -> bool:
        """Whether the stencil looks the same from all sides, so that cells have no sense of direction."""
        return self in (Filter.GAUSSIAN, Filter.LAPLACIAN, Filter.MEAN)


class Boundary(StrEnum):
    """What lies beyond the edge of the grid: nothing, or the opposite edge."""

    ZERO = "zero"
    WRAP = "wrap"


class Loss(StrEnum):
    """What training minimises over the first four channels."""

    L1 = "l1"
    L2 = "l2"
    MANHATTAN = "manhattan"
    HINGE = "hinge"


class Regime(StrEnum):
    """How training starts its rollouts: from the seed, from a pool, from a pool with damage."""

    GROWING = "growing"
    PERSISTENT = "persistent"
    REGENERATING = "regenerating"


class Optimiser(StrEnum):
    """What changes the weights: Muon for matrices, with Adam for the biases, or Adam for all."""

    MUON = "muon"
    ADAM = "adam"


class SeedCells(StrEnum):
    """How many cells a picture grows from: one, three of different colours, a square of 25, or as many as it needs."""

    AUTO = "auto"
    ONE = "one"
    THREE = "three"
    SQUARE = "square"


class Schedule(StrEnum):
    """How the learning rate changes after the warm-up."""

    COSINE = "cosine"
    STEP = "step"
    CONSTANT = "constant"


class Device(StrEnum):
    """Where rollouts run."""

    AUTO = "auto"
    CPU = "cpu"
    CUDA = "cuda"
    MPS = "mps"


class Precision(StrEnum):
    """Precision of the factors of the network's products; sums, states and gradients are always float32."""

    FLOAT32 = "float32"
    BFLOAT16 = "bfloat16"


class Damage(StrEnum):
    """Shapes that damage erases."""

    CIRCLE = "circle"
    LEFT = "left"
    RIGHT = "right"
    TOP = "top"
    BOTTOM = "bottom"
    SQUARE = "square"


class Window(StrEnum):
    """Names for which values become black and white; LOW:HIGH says it in numbers."""

    AUTO = "auto"
    FULL = "full"
    LUNG = "lung"
    BONE = "bone"
    BRAIN = "brain"
    SOFT = "soft"


YES_WORDS, NO_WORDS = ("true", "yes", "on", "1"), ("false", "no", "off", "0")
"""What users write after a flag that takes no value."""
SWITCH_WORDS = ("random", *YES_WORDS, *NO_WORDS)
"""What `--damage` takes besides shapes: random circles, or none."""


class TableFormat(StrEnum):
    """Forms of the table for a paper, by the file's ending."""

    TEX = "tex"
    MD = "md"


class Metric(StrEnum):
    """The unit in which tables show errors."""

    MSE = "mse"
    PSNR = "psnr"
    SSIM = "ssim"


class ExportFormat(StrEnum):
    """What a model can be exported to."""

    HTML = "html"
    ONNX = "onnx"
    PT2 = "pt2"
    JSON = "json"
    NPZ = "npz"
    H = "h"


class Order(StrEnum):
    """How the inputs of another program's network are ordered.

    By filter: all channels' identity, then filter, then transposed filter; by channel; or by filter with the last
    two exchanged, as in a program that runs on [channel, width, height].
    """

    BLOCKED = "blocked"
    INTERLEAVED = "interleaved"
    TRANSPOSED = "transposed"


class View(StrEnum):
    """What of a state is shown."""

    RGBA = "rgba"
    ALPHA = "alpha"
    HIDDEN = "hidden"
    CHANGE = "change"
    ERROR = "error"
    VARIANCE = "variance"
    ALL = "all"


class Colormap(StrEnum):
    """How grey samples are coloured: not at all, or by a perceptually uniform map of matplotlib's."""

    GREY = "grey"
    VIRIDIS = "viridis"
    PLASMA = "plasma"
    INFERNO = "inferno"
    MAGMA = "magma"
    CIVIDIS = "cividis"


class Alpha(StrEnum):
    """What is transparent, beside what the picture itself leaves out."""

    OPAQUE = "opaque"
    LUMINANCE = "luminance"
    THRESHOLD = "threshold"
