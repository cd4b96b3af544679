"""A backbone of timm or torchvision as a classifier, with seeded weights."""
