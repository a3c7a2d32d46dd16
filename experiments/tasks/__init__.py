"""The data of the paper's downstream tasks (Sec. 5): recorded scenes in, and open stand-ins for them."""
