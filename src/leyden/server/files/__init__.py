"""What do jobs leave, how is it kept and served, and when does it go?"""
