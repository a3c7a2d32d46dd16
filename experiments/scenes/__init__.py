"""What a scene is: its description, its streams of randomness, what varies between scenes."""
