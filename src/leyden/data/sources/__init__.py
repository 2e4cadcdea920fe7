"""Which formats can be read, and how is one sample found in them?"""
