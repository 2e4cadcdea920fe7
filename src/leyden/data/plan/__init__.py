"""In which order do samples come, and who gets which?"""
