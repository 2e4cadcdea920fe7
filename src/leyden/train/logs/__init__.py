"""What becomes of what steps log?"""
