"""What methods did on clips, and the processes that run them."""
