"""How is a module spread over ranks?"""
