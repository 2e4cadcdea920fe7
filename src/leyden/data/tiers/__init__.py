"""How do bytes come to this host, once for all its processes?"""
