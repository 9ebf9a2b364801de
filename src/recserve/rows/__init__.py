"""In which precision rows of float32 are kept, and the way there and back."""
