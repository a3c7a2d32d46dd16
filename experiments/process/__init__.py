"""What a process of this project needs: cores, compiled programs, how it tells of its progress, what it says of bad input."""
