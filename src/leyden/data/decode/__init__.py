"""How much of a picture has to be decoded?"""
