"""Generated C++ for what edge and cloud send each other."""
