"""Reading weights files, and what is known of the models in them."""
