"""Loading of weights files, and metadata of the models in them."""
