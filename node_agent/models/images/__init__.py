"""Importers for labelled sets of images: IDX, CIFAR's binary version, MedMNIST's npz, and a folder per class.

One module per format. None of them unpickles or runs anything of the files, none needs torch, and all of them keep the
limits of `image_set`: a small file that claims to be huge is refused before memory is allocated for it.
"""

from node_agent.models.images.cifar import read_cifar
from node_agent.models.images.folder import read_folder
from node_agent.models.images.idx import FASHION_MNIST, FASHION_MNIST_CLASSES, read_idx
from node_agent.models.images.image_set import ImageSet
from node_agent.models.images.medmnist import read_medmnist
from node_agent.models.images.recognition import read_images

__all__ = [
    "FASHION_MNIST",
    "FASHION_MNIST_CLASSES",
    "ImageSet",
    "read_cifar",
    "read_folder",
    "read_idx",
    "read_images",
    "read_medmnist",
]
