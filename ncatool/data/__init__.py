"""Targets: the phantom, image files and MedMNIST samples as RGBA pictures; catalogue and download of MedMNIST."""
